"""What a training leaves behind: downloaded, checked, copied for other programs, and reported."""
