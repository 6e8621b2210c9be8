"""Quote currencies, as named in records."""

from __future__ import annotations

__all__ = ["DOLLAR", "DOLLARS", "DOLLAR_COINS"]

DOLLAR = "USD"
DOLLAR_COINS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "RLUSD", "AUSD", "PYUSD", "USDP", "USDG", "USD1"})
"""Dollar stablecoins. A record keeps its actual quote currency."""
DOLLARS = DOLLAR_COINS | {DOLLAR}
