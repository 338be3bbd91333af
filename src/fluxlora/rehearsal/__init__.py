"""A stand-in vast.ai, Hub and market, and the hosts behind them: a whole run for free."""
