"""The lake's benchmarks (`make bench-lake`): each part starts its own engines and verifies the resulting data.

Sizes default to those that docs/performance.md reports; smaller ones are for trying the benchmark itself. Prints Markdown; `--json FILE` keeps all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from bench.lake import alternatives as tried
from bench.lake import cold_start as cold
from bench.lake import day, latency, query, size, small_files, stages, throughput, year
from bench.lake.contenders import CONTENDERS
from bench.lake.figures import Part
from bench.lake.records import Shape
from bench.lake.report import markdown
from bench.lake.variants import VARIANTS
from cryptoviz.log import configure_logging
from tests.support.measure import load, machine

PARTS: dict[str, Callable[[argparse.Namespace], Part]] = {
    "throughput": lambda given: throughput.throughput(
        throughput.Sizes(
            given.records,
            given.warm_records,
            given.quix_records,
            given.shape,
            given.variant,
            given.per_trigger,
            given.executors,
            given.executor_cores,
        ),
        given.contenders,
    ),
    "cold": lambda given: cold.cold(cold.Sizes(many=given.cold_records)),
    "latency": lambda given: latency.latency(latency.Sizes(given.rates, given.seconds, given.variant, given.raw_rate)),
    "stages": lambda given: stages.stages(stages.Sizes(shape=given.shape)),
    "size": lambda _: size.size(size.Sizes()),
    "query": lambda given: query.query(query.Sizes(days=given.days, queries=given.queries)),
    "small-files": lambda given: small_files.small_files(small_files.Sizes(files=given.small_files)),
    "day": lambda given: day.day(day.Sizes(ticks=given.ticks, gap_s=given.gap)),
    "year": lambda given: year.year(year.Sizes(days=given.year_days)),
    "tried": lambda _: tried.tried(tried.Sizes()),
}


def main() -> None:
    given = _arguments()
    configure_logging("WARNING")
    found: list[Part] = []
    for name in given.only:
        before = load()
        part = PARTS[name](given)
        found.append(replace(part, machine=machine(), load=before, command=_command()))
        sys.stdout.write(markdown(found[-1:]) + "\n")
        sys.stdout.flush()
        if given.json:
            given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")


def _command() -> str:
    words = sys.argv[1:]
    if "--json" in words:
        place = words.index("--json")
        words = words[:place] + words[place + 2 :]
    return " ".join(["python -m bench.lake", *words])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.lake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=f"some of: {', '.join(PARTS)}")
    add("--json", type=Path, metavar="FILE")
    add("--shape", choices=get_args(Shape), default="short", help="throughput, stages: 380 bytes with the required fields, or 750 with all of them")
    add("--variant", choices=list(VARIANTS), default="in-use", help="throughput, latency: the lake job with one thing done otherwise")
    add("--per-trigger", type=int, default=400_000, help="throughput: CRYPTOVIZ_LAKE__MAX_OFFSETS_PER_TRIGGER (default %(default)s)")
    add("--records", type=int, default=3_000_000, help="throughput: backlog (default %(default)s)")
    add("--warm-records", type=int, default=800_000, help="throughput: read before it (default %(default)s)")
    add("--executors", type=int, default=1, help="throughput: CRYPTOVIZ_LAKE__EXECUTORS (default %(default)s)")
    add("--executor-cores", type=int, default=2, help="throughput: CRYPTOVIZ_LAKE__EXECUTOR_CORES (default %(default)s); all within two cores")
    add("--quix-records", type=int, default=200_000, help="throughput: how many of them quixstreams reads (default %(default)s)")
    add("--contenders", nargs="*", choices=list(CONTENDERS), default=list(CONTENDERS), help="throughput: beside whom")
    add("--cold-records", type=int, default=400_000, help="cold: records that wait (default %(default)s, a full trigger)")
    add("--rates", type=int, nargs="+", default=[100, 1_000, 10_000], help="latency: records a second")
    add("--seconds", type=float, default=60.0, help="latency: at each rate (default %(default)s)")
    add("--raw-rate", type=int, default=0, help="latency: raw exchanges a second beside the records (default %(default)s)")
    add("--days", type=int, default=365, help="query: days in the table (default %(default)s)")
    add("--queries", type=int, default=200, help="query: how many (default %(default)s)")
    add("--small-files", type=int, default=172_800, help="small-files: how many (default %(default)s, a day of 0.5 s triggers)")
    add("--ticks", type=int, default=1_440, help="day: ticks of 60 s (default %(default)s)")
    add("--gap", type=float, default=0.3, help="day: seconds from one tick to the next (default %(default)s)")
    add("--year-days", type=int, default=12, help="year: days of 1 440 commits on each table (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
