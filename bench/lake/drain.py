"""`python -m bench.lake.drain SETTINGS_FILE [--records N] [--warm-records N]`: how fast the running lake job of a pipeline reads a backlog, as JSON.

On a node of a pipeline made for it (`bench.hosts`): the records stay in its topic and its lake.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.lake.commits import commits
from bench.lake.feed import Backlog, backlog
from bench.lake.position import wait_for
from bench.lake.records import records
from bench.lake.verify_summary import verdict
from cryptoviz.settings import Settings, load_settings_file

__all__ = ["LOOK_S", "Drained", "drain", "seconds_of"]

LOOK_S = 1.0
"""Between two looks at the position. Each opens the table, so they are infrequent, not to affect the measurement."""
_TIMEOUT_S = 900.0
_OF_A_BACKLOG = 1_000  # rows of a commit; the ticks of the pipeline are smaller


@dataclass(frozen=True, slots=True)
class Drained:
    """A backlog of `records`, committed within `seconds` of its visibility, and what both readers of the lake say afterwards."""

    records: int
    seconds: float
    per_s: int
    verifier: str


def seconds_of(settings: Settings, main: Backlog) -> float:
    """From the visibility of the backlog until its last rows could be read, by the store's times; the lake has all of it."""
    return [commit for commit in commits(settings) if commit.rows >= _OF_A_BACKLOG][-1].visible_ms / 1000 - main.visible_s


def drain(settings: Settings, count: int, warm_count: int) -> Drained:
    """Publish a backlog to warm up, then another; each becomes visible at once."""
    warm = backlog(settings, records(warm_count, seed=1), "bench-warm")
    wait_for(settings, warm.ends, _TIMEOUT_S)
    main = backlog(settings, records(count, seed=2))
    wait_for(settings, main.ends, _TIMEOUT_S, LOOK_S)
    took = seconds_of(settings, main)
    return Drained(count, round(took, 1), round(count / took), verdict(settings))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lake.drain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings_file", type=Path)
    parser.add_argument("--records", type=int, default=1_200_000)
    parser.add_argument("--warm-records", type=int, default=400_000)
    given = parser.parse_args()
    print(json.dumps(asdict(drain(load_settings_file(given.settings_file), given.records, given.warm_records))))


if __name__ == "__main__":
    main()
