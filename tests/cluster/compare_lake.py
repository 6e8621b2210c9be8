"""`python -m tests.cluster.compare_lake SETTINGS_FILE`, on a node: Kafka's committed prices and the lake's, read in two ways, as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from cryptoviz.settings import load_settings_file
from tests.support.lake_readers import READERS
from tests.support.pipeline import Demo

COLUMNS = ["kafka_partition", "kafka_offset", "asset_id", "price"]


def main() -> None:
    """For each reader: rows, and records up to the last row of a partition that are lost, doubled, changed or unknown."""
    settings = load_settings_file(Path(sys.argv[1]))
    tables = {read.__name__: read(settings, "prices", COLUMNS).to_pylist() for read in READERS}
    records = {key: (record.asset_id, record.price) for key, record in Demo(settings, {}).stream().items()}
    found = {}
    for name, rows in tables.items():
        counts = Counter((row["kafka_partition"], row["kafka_offset"]) for row in rows)
        last = {partition: max(offset for of, offset in counts if of == partition) for partition, _ in counts}
        found[name] = {
            "rows": len(rows),
            "lost": sum(key not in counts for key in records if key[1] <= last.get(key[0], -1)),
            "doubled": sum(count - 1 for count in counts.values()),
            "unknown": sum(key not in records for key in counts),
            "changed": sum(
                records.get((row["kafka_partition"], row["kafka_offset"])) != (row["asset_id"], row["price"]) for row in rows
            ),
        }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
