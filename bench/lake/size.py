"""Bytes for each day and coin: as JSON, as written by the job at a 60 s tick, and after compaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from bench.lake.environment import engines
from bench.lake.figures import Figure, Part
from bench.lake.maintenance_rounds import later, tend_until_done
from bench.lake.records import records
from bench.lake.rowcheck import row_check
from bench.lake.tables import day_rows, open_log, put_parts, table_bytes

__all__ = ["Sizes", "size"]

_AIM_MB = 0.12
_SEED_MB = 1.0
_COINS = 17


@dataclass(frozen=True, slots=True)
class Sizes:
    """Days of 1 440 ticks."""

    days: int = 1
    tick_ms: int = 60_000


def size(sizes: Sizes) -> Part:
    """One file for each tick, then maintenance."""
    coin_days = sizes.days * _COINS
    with engines() as settings:
        log = open_log(settings)
        rows = day_rows(sizes.tick_ms, sizes.days)
        log.commit(put_parts(settings, _by_tick(rows)), {})
        before, files_before = table_bytes(settings)
        rounds = tend_until_done(settings, later())
        after, files_after = table_bytes(settings)
        proof = row_check(settings, rows.num_rows)
    json_bytes = sum(len(value) for _, value in records(rows.num_rows, "full", tick_ms=sizes.tick_ms, seed=11))
    per_day = {name: amount / coin_days / 1e6 for name, amount in (("json", json_bytes), ("before", before), ("after", after))}
    figures = (
        Figure("JSON in Kafka, uncompressed", round(per_day["json"], 3), "MB a day and coin"),
        Figure("as the job writes it, one file a tick", round(per_day["before"], 3), "MB a day and coin", note=f"{files_before} files"),
        Figure("after compaction", round(per_day["after"], 3), "MB a day and coin", f"<= {_AIM_MB} MB", per_day["after"] <= _AIM_MB,
               f"{files_after} files, {after / rows.num_rows:.1f} bytes a row; JSON is {json_bytes / after:.1f} times as large", proof),
        Figure("the predecessor's own figure", _SEED_MB, "MB a day and coin"),
    )  # fmt: skip
    return Part(
        name="size",
        title="Size on the store",
        sizes=f"{sizes.days} day of {_COINS} coins at a {sizes.tick_ms // 1000} s tick, full records: {rows.num_rows} rows",
        figures=figures,
        verifier=proof,
        notes=(f"compaction took {sum(one.took_ms for one in rounds) / 1000:.1f} s, peak {max(one.peak_rss_mb for one in rounds):.0f} MB",),
    )


def _by_tick(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _COINS):
        yield rows.slice(start, _COINS)
