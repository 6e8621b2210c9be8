"""The contract corpus: bodies that providers send, good, odd and failing, each with what must be made of it.

`tests/corpus/<provider>/<case>.json`: `about`, `status` (200), `headers`, `body` (JSON) or `body_text`, and `expect`: either `prices` and `failures`
by our asset id with chosen `values`, or the `error` class with its `reason` (and `retry_after_s`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from actors.providers.http import HttpResponse

FOLDER = Path(__file__).parent / "corpus"
# 2024-10-12T09:31:08Z
RECEIVED_MS = 1728725468000
IDS = {
    "coingecko": {"bitcoin": "bitcoin", "ethereum": "ethereum", "polygon-ecosystem-token": "polygon"},
    "coinmarketcap": {"1": "bitcoin", "1027": "ethereum", "28321": "polygon"},
    "binance": {"BTCUSDT": "bitcoin", "ETHUSDT": "ethereum", "POLUSDT": "polygon"},
    "kraken": {"XBTUSD": "bitcoin", "ETHUSD": "ethereum", "POLUSD": "polygon"},
    "coinpaprika": {"btc-bitcoin": "bitcoin", "eth-ethereum": "ethereum", "pol-polygon-ecosystem-token": "polygon"},
    # one call a coin
    "coinbase": {"BTC-USD": "bitcoin"},
}


@dataclass(frozen=True)
class Case:
    name: str
    response: HttpResponse
    expect: dict[str, Any]


def cases(provider: str) -> list[Case]:
    found = []
    for path in sorted((FOLDER / provider).glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        body = case["body_text"].encode() if "body_text" in case else orjson.dumps(case["body"])
        found.append(Case(path.stem, HttpResponse(case.get("status", 200), case.get("headers", {}), body, RECEIVED_MS), case["expect"]))
    return found
