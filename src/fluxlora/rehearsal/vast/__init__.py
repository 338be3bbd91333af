"""The stand-in for vast.ai: its HTTP API, a market, instances in their states, and a ledger of the costs."""
