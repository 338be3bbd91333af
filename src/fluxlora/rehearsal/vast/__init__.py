"""The stand-in for vast.ai: its wire protocol, a market, instances in their states, and a ledger of the costs."""
