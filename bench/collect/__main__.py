"""The speed of collection (`make bench-collect`): 10 000 assets a tick on one core, and the way from response to Kafka's acknowledgement.

- a tick of 10 000 assets: the bodies of CoinGecko (40 pages of 250) and CoinMarketCap (100 pages of 100) through the parsers, the collector's choice
  and encoding, and one transaction on a real Kafka that the script starts. This process is bound to one core; Kafka may use all.
- response to acknowledgement: 17 assets of both providers, tick after tick, from two complete bodies to the event that the broker has the tick; in
  one process, and as the pipeline does it, with each scraper and the collector in an actor of Ray.
- transaction: 1 and 17 records, without and with the producer's progress and the topic's id.
- parsers: ours (strict JSON, no repeated keys, checked values) beside pydantic models of the same fields and ccxt's parser, which knows Binance only.
  ccxt is no dependency, because it pins older versions of packages that others here need. It is compared with where it can be imported:
  `uv pip install --no-deps --target /tmp/ccxt ccxt && PYTHONPATH=/tmp/ccxt make bench-collect`.

Prints a Markdown table; `--json FILE` keeps the figures, `--profile` shows where a tick's time goes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.collect.ack import acknowledgements, acknowledgements_through_ray
from bench.collect.parsers import parsers
from bench.collect.report import report
from bench.collect.tick import whole_tick
from bench.collect.transactions import transaction_times
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.log import configure_logging
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.engines import engines
from tests.support.measure import load, machine
from tests.support.ports import free_port


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.collect", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--json", type=Path, help="write the figures here, too")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--ticks", type=int, default=300, help="ticks of 17 assets")
    arguments.add_argument("--profile", action="store_true")
    given = arguments.parse_args()
    configure_logging("WARNING")
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as home, kafka(Path(home)) as settings:
        hop_ms = acknowledgements_through_ray(settings, given.ticks)
        # Kafka is started: from here on, this process and its threads have one core.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        figures: dict[str, Any] = {
            "machine": machine(),
            "load": load(),
            "tick": whole_tick(settings, given.rounds, profile=given.profile),
            "ack_ms": acknowledgements(settings, given.ticks),
            "ack_through_ray_ms": hop_ms,
            "transaction_ms": transaction_times(settings, given.ticks),
            "parsers": parsers(given.rounds),
        }
    report(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextlib.contextmanager
def kafka(home: Path) -> Iterator[Settings]:
    """A broker of its own."""
    settings = claim_home(load_settings(home=home, kafka={"port": free_port(), "controller_port": free_port()}, redis={"port": 1}))
    with engines(settings, "kafka"):
        TopicAdmin(settings.kafka).ensure_topics({})
        yield settings


if __name__ == "__main__":
    main()
