"""JSON and files that a stranger wrote: validated where they enter, and stored where they cannot do harm."""
