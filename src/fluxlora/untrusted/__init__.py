"""Text, JSON and files that a stranger wrote: validated where they enter, and put where they cannot do harm."""
