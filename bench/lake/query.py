"""A year of compacted days: one coin for 24 hours, and the start of the lake job on that table."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from bench.lake.environment import engines, lake_host
from bench.lake.figures import Figure, Part
from bench.lake.records import START_MS
from bench.lake.rowcheck import row_check
from bench.lake.tables import day_rows, days_of_rows, open_log, put_parts
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.lake import Lake
from cryptoviz.settings import Settings
from cryptoviz.times import DAY_MS
from spark_jobs.maintenance.steps import LAYOUTS
from tests.support.measure import spread

__all__ = ["Sizes", "query"]

_AIM_P95_MS = 30.0
_AIM_START_S = 15.0
_DAYS_A_COMMIT = 30


@dataclass(frozen=True, slots=True)
class Sizes:
    """8.9 million rows by default; each query is a coin and a 24 hour window, both random."""

    days: int = 365
    tick_ms: int = 60_000
    queries: int = 200


def query(sizes: Sizes) -> Part:
    """Each day is one sorted file, as after compaction."""
    with engines() as settings:
        rows = _year(settings, sizes)
        lake = Lake(settings)
        first = _timed(lake, *_draw(random.Random(1), sizes.days))[0]
        lot = random.Random(2)
        ticks = DAY_MS // sizes.tick_ms
        measured = [_timed(lake, *_draw(lot, sizes.days)) for _ in range(sizes.queries)]
        wrong = sum(count != ticks for _, count in measured)
        times = spread([took for took, _ in measured])
        proof = row_check(settings, rows)
        with lake_host(settings) as host:
            started_s = host.start()
    check = f"{sizes.queries - wrong} of {sizes.queries} returned {ticks} rows each"
    return Part(
        name="query",
        title="Queries on a year",
        sizes=f"{rows} rows in {sizes.days} files",
        figures=(
            Figure("one coin, 24 h, p50", round(times.p50, 1), "ms", check=check),
            Figure(
                "one coin, 24 h, p95",
                round(times.p95, 1),
                "ms",
                f"<= {_AIM_P95_MS:.0f} ms",
                times.p95 <= _AIM_P95_MS,
                f"max {times.most:.0f} ms",
                check,
            ),
            Figure("the first query of a process, opens the table", round(first), "ms"),
            Figure("start of the lake job on this table", round(started_s, 1), "s", f"<= {_AIM_START_S:.0f} s", started_s <= _AIM_START_S),
        ),
        verifier=proof,
        notes=("the days' prices repeat each other: each file is sorted and encoded for itself, so that this changes neither sizes nor times",),
    )


def _year(settings: Settings, sizes: Sizes) -> int:
    """Write the table; returns its rows."""
    log = open_log(settings)
    base = day_rows(sizes.tick_ms, 1).sort_by(LAYOUTS["prices"].order)
    for first in range(0, sizes.days, _DAYS_A_COMMIT):
        log.commit(put_parts(settings, days_of_rows(base, range(first, min(first + _DAYS_A_COMMIT, sizes.days))), LAYOUTS["prices"]), {})
    return int(base.num_rows) * sizes.days


def _draw(lot: random.Random, days: int) -> tuple[str, datetime, datetime]:
    begin = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(minutes=lot.randrange(max(1, (days - 1) * 1440)))
    return lot.choice(DEFAULT_ASSETS).asset_id, begin, begin + timedelta(days=1)


def _timed(lake: Lake, asset: str, start: datetime, end: datetime) -> tuple[float, int]:
    begun = time.perf_counter()
    rows: pa.Table = lake.prices(asset, start=start, end=end).arrow()
    return (time.perf_counter() - begun) * 1000, rows.num_rows
