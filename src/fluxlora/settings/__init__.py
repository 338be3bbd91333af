"""The settings of a run: the guide's numbers, the presets, the existing variables, and which of them are secret."""
