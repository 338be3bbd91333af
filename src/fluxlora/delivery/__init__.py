"""The results of a training: downloaded, checked, copied for other programs, and reported."""
