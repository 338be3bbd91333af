"""Estimates for a run before it is measured: sizes, work, speeds and hours."""
