"""The providers that the replay market imitates, by name. A new provider is a module and a line here."""

from __future__ import annotations

from market.dialects.base import Answer, Dialect, Request, Usage, View
from market.dialects.binance import Binance
from market.dialects.coinbase import Coinbase
from market.dialects.coingecko import CoinGecko
from market.dialects.coinmarketcap import CoinMarketCap
from market.dialects.coinpaprika import CoinPaprika
from market.dialects.kraken import Kraken

__all__ = ["DIALECTS", "Answer", "Dialect", "Request", "Usage", "View"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (CoinGecko(), CoinMarketCap(), Binance(), Kraken(), CoinPaprika(), Coinbase())}
