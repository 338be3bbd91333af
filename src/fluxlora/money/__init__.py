"""What was spent, what may be spent, and what costs money that should not."""
