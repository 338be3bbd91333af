"""Stand-ins for vast.ai, its market and the Hub, with real hosts behind them: a whole run for free."""
