"""Calls the playbooks for the command: which runs, which settings, what the screen shows."""
