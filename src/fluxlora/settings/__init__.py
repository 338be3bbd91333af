"""The settings of a run: the guide's numbers, the presets, the variables that exist, and what of them is secret."""
