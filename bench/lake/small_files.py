"""A day of small files, one for each trigger of 0.5 s, and their compaction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from bench.lake.environment import engines
from bench.lake.figures import Figure, Part
from bench.lake.maintenance_rounds import later, tend_until_done
from bench.lake.rowcheck import row_check
from bench.lake.tables import day_rows, open_log, put_parts, table_bytes
from cryptoviz.times import DAY_MS

__all__ = ["Sizes", "small_files"]

_FILES_A_COMMIT = 1_000
_COINS = 17


@dataclass(frozen=True, slots=True)
class Sizes:
    """A day has 172 800 triggers of 0.5 s; `rows_a_file`: rows of each at a 2 s tick of 17 coins."""

    files: int = 172_800
    rows_a_file: int = 4


def small_files(sizes: Sizes) -> Part:
    """Files are written at full speed, a thousand in each commit, instead of one every 0.5 s; maintenance sees the same objects."""
    with engines() as settings:
        log = open_log(settings)
        count = sizes.files * sizes.rows_a_file
        rows = day_rows(DAY_MS // -(-count // _COINS), 1).slice(0, count)
        begun = time.monotonic()
        for start in range(0, count, _FILES_A_COMMIT * sizes.rows_a_file):
            log.commit(put_parts(settings, _pieces(rows.slice(start, _FILES_A_COMMIT * sizes.rows_a_file), sizes.rows_a_file)), {})
        wrote_s = time.monotonic() - begun
        before, files = table_bytes(settings)
        begun = time.monotonic()
        rounds = tend_until_done(settings, later())
        took_s = time.monotonic() - begun
        after, left = table_bytes(settings)
        proof = row_check(settings, count)
    merges = sum(one.figures.get("merges", 0) for one in rounds)
    return Part(
        name="small-files",
        title="A day of small files",
        sizes=f"{files} files of {sizes.rows_a_file} rows, written at speed in {wrote_s:.0f} s",
        figures=(
            Figure("objects before", files, "", note=f"{before / 1e6:.0f} MB, {before / count:.0f} bytes a row"),
            Figure("objects after", left, "", note=f"{after / 1e6:.1f} MB, {after / count:.0f} bytes a row", check=proof),
            Figure("compaction", round(took_s, 1), "s", note=f"{merges} merges in {len(rounds)} rounds, {took_s / files * 1000:.2f} ms a file"),
            Figure("memory of the round, peak", max(one.peak_rss_mb for one in rounds), "MB"),
            Figure("longest time in which a plain reader sees rows twice", round(max(one.window_ms for one in rounds)), "ms"),
        ),
        verifier=proof,
    )


def _pieces(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, size):
        yield rows.slice(start, size)
