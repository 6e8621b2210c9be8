"""The contract corpus: good, unusual and failing bodies of providers, each with its expected result.

`tests/corpus/<provider>/<case>.json`: `about`, `status` (200), `headers`, `body` (JSON) or `body_text`, and `expect`: either `prices` and `failures`
by our asset id with chosen `values`, or the `error` class with its `reason` (and `retry_after_s`). `pairs`: the exchange's listing, if it is
not `PAIRS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cryptoviz.providers.pairs import Pair
from cryptoviz.providers.response import HttpResponse

FOLDER = Path(__file__).parents[1] / "corpus"
# 2024-10-12T09:31:08Z
RECEIVED_MS = 1728725468000
IDS = {
    "coingecko": {"bitcoin": "bitcoin", "ethereum": "ethereum", "polygon-ecosystem-token": "polygon"},
    "coinmarketcap": {"1": "bitcoin", "1027": "ethereum", "28321": "polygon"},
    "binance": {"BTCUSDT": "bitcoin", "ETHUSDT": "ethereum", "POLUSDT": "polygon"},
    "kraken": {"XBTUSD": "bitcoin", "ETHUSD": "ethereum", "POLUSD": "polygon"},
    "coinpaprika": {"btc-bitcoin": "bitcoin", "eth-ethereum": "ethereum", "pol-polygon-ecosystem-token": "polygon"},
    # one request per coin
    "coinbase": {"BTC-USD": "bitcoin"},
}


# Keys and currencies as in AssetPairs and exchangeInfo: the keys do not follow from the ids by a rule.
PAIRS = {
    "kraken": {"XBTUSD": Pair("XXBTZUSD", "USD"), "ETHUSD": Pair("XETHZUSD", "USD"), "POLUSD": Pair("POLUSD", "USD")},
    "binance": {symbol: Pair(symbol, "USDT") for symbol in IDS["binance"]},
}
# Kraken's code of the dollar depends on the version of its names.
KRAKEN_CODES = {"USD": "ZUSD"}


def listing_of(provider: str, pairs: dict[str, Pair]) -> dict[str, Any]:
    """Body of the exchange's listing with these pairs."""
    if provider == "kraken":
        rows = {
            pair.key: {"altname": one, "wsname": f"{one[:3]}/{one[3:]}", "quote": KRAKEN_CODES.get(pair.quote, pair.quote), "status": "online"}
            for one, pair in pairs.items()
        }
        return {"error": [], "result": rows}
    return {"symbols": [{"symbol": one, "status": "TRADING", "quoteAsset": pair.quote} for one, pair in pairs.items()]}


@dataclass(frozen=True)
class Case:
    name: str
    response: HttpResponse
    expect: dict[str, Any]
    pairs: dict[str, Pair]


def cases(provider: str) -> list[Case]:
    found = []
    for path in sorted((FOLDER / provider).glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        body = case["body_text"].encode() if "body_text" in case else orjson.dumps(case["body"])
        pairs = {one: Pair(*pair) for one, pair in case["pairs"].items()} if "pairs" in case else PAIRS.get(provider, {})
        response = HttpResponse(case.get("status", 200), case.get("headers", {}), body, RECEIVED_MS)
        found.append(Case(path.stem, response, case["expect"], pairs))
    return found
