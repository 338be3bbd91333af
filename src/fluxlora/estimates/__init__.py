"""What a run takes before anybody has measured it: sizes, work, speeds and hours."""
