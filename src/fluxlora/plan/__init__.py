"""The plan of a run: its figures, what it needs of a machine, and the rules that judge both."""
