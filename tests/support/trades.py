"""Trades of a venue as in the topic of trades."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["AT_US", "change", "trade", "trade_values"]

AT_US = 1_764_000_000_000_000  # 2025-11-24T16:00:00Z


def trade(number: int, symbol: str = "BTCUSDT", asset_id: str = "bitcoin", **changes: Any) -> dict[str, Any]:
    """The fields of a trade; price and size follow from the number."""
    key = hashlib.blake2b(f"binance\x00{symbol}\x00{number}".encode(), digest_size=16).hexdigest()
    at = AT_US + number * 1_001
    return {
        "trade_key": key, "venue": "binance", "venue_symbol": symbol, "asset_id": asset_id, "quote_currency": "USDT", "trade_id": str(number),
        "trade_number": number, "price": f"{37_000 + number % 97}.{number % 100:02}", "size": f"0.{number % 999 + 1:08}", "side": "buy",
        "venue_ts": at, "ingest_ts": at + 40_000, "source": "stream", "connection": "c1", "sequence": None,
    } | changes  # fmt: skip


def trade_values(numbers: range, **changes: Any) -> list[tuple[bytes, bytes]]:
    """Keys and values of Kafka records."""
    return [(b"binance:BTCUSDT", json.dumps(trade(number, **changes)).encode() + b"\n") for number in numbers]


def change(gap_id: str, state: str, at: int, **changes: Any) -> bytes:
    """A change of a gap, `at` microseconds after `AT_US`."""
    fields = {
        "change_id": f"{gap_id}:{at}", "gap_id": gap_id, "venue": "binance", "venue_symbol": "BTCUSDT", "asset_id": "bitcoin",
        "quote_currency": "USDT", "first_id": 10, "last_id": 19, "state": state, "reason": "", "missing": 10 if state == "open" else 0,
        "refilled": 0 if state == "open" else 10, "late": 0, "runs": "10-19" if state == "open" else "", "from_ts": None, "to_ts": None,
        "opened_ts": AT_US, "closed_ts": None, "changed_ts": AT_US + at,
    }  # fmt: skip
    return json.dumps(fields | changes).encode() + b"\n"
