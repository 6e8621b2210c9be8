"""`python -m tests.cluster.compare_lake SETTINGS_FILE [MARKET]`, on a node: Kafka's committed prices and the lake's, read in two ways, as JSON.

MARKET: URL of a replay market, whose request log has all prices that it served.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from deltalake import DeltaTable

from cryptoviz.lake.objects import table_address
from cryptoviz.lake.parts import parse_part
from cryptoviz.records import Kind
from cryptoviz.settings import Settings, load_settings_file
from tests.support.lake_readers import READERS
from tests.support.pipeline import Demo, keys, read_again
from tests.support.waiting import eventually

COLUMNS = ["kafka_partition", "kafka_offset", "asset_id", "price", "kind", "provider", "provider_asset_id"]
_PAGE = 10_000
_CATCH_UP_S = 120.0


def main(settings_file: str, market: str = "") -> None:
    """For each reader: rows, and how many are lost (of all records at the start of this command), doubled, changed, unknown, or were never served."""
    settings = load_settings_file(Path(settings_file))
    kafka = Demo(settings, {})
    due = kafka.stream().keys()
    with suppress(AssertionError):  # then they are lost
        eventually(lambda: has_reached(settings, due), _CATCH_UP_S, 1.0)
    tables = {read.__name__: read_again(partial(read, settings, "prices", COLUMNS)) for read in READERS}
    records = {key: (record.asset_id, record.price) for key, record in kafka.stream().items()}
    served = served_prices(market) if market else None
    found = {}
    for name, rows in tables.items():
        counts = keys(rows)
        found[name] = {
            "rows": len(rows),
            "lost": len(due - counts.keys()),
            "doubled": sum(count - 1 for count in counts.values()),
            "unknown": len(counts.keys() - records.keys()),
            "changed": sum(records.get((row["kafka_partition"], row["kafka_offset"])) != (row["asset_id"], row["price"]) for row in rows),
            "unserved": sum(served is not None and row["kind"] == Kind.LIVE and _quote(row) not in served for row in rows),
        }
    print(json.dumps(found))


def has_reached(settings: Settings, due: Iterable[tuple[int, int]]) -> bool:
    """Whether the lake has files up to the last of these partitions and offsets, by the files' names: to read hundreds of them takes long."""
    table = DeltaTable(table_address(settings.s3, "prices").uri, storage_options=settings.s3.storage_options())
    parts = [part for uri in table.file_uris() if (part := parse_part(f"year={uri.partition('/year=')[2]}")) is not None]
    return all(any(part.partition == partition and part.end >= offset for part in parts) for partition, offset in dict(sorted(due)).items())


def _quote(row: dict[str, Any]) -> tuple[str, str, Any]:
    return row["provider"], row["provider_asset_id"], row["price"]


def served_prices(market: str) -> set[tuple[str, str, Any]]:
    """Provider, its id of the coin, and price, of each readable answer in the market's request log."""
    found: set[tuple[str, str, Any]] = set()
    since = 0
    while True:
        page = httpx.get(f"{market}/_market/ledger", params={"since": since, "limit": _PAGE}, timeout=60).json()
        if not page["entries"]:
            return found
        found |= {(one["provider"], coin, price) for one in page["entries"] if one["status"] == 200 for coin, price in one["prices"].items()}
        since = page["next_since"]


if __name__ == "__main__":
    main(*sys.argv[1:])
