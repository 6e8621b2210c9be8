"""Currencies that prices are quoted in, by the names that records carry."""

from __future__ import annotations

__all__ = ["DOLLAR", "DOLLARS", "DOLLAR_COINS"]

DOLLAR = "USD"
DOLLAR_COINS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "RLUSD", "AUSD", "PYUSD", "USDP", "USDG", "USD1"})
"""Coins that stand for a dollar each. A record keeps the one that it was quoted in."""
DOLLARS = DOLLAR_COINS | {DOLLAR}
