"""The providers that the replay market imitates, by name. A new one is a file of its own and a line here."""

from __future__ import annotations

from actors.market.dialects.base import Answer, Dialect, Request, Usage, View
from actors.market.dialects.coingecko import CoinGecko
from actors.market.dialects.coinmarketcap import CoinMarketCap

__all__ = ["DIALECTS", "Answer", "Dialect", "Request", "Usage", "View"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (CoinGecko(), CoinMarketCap())}
