"""What a transaction costs the embedded broker, and where its time goes (`python -m bench.transactions`; a minute a variant).

One `OwnedProducer`, as of a scraper, the collector or a stream, commits `--rows` records of 300 bytes `--rate` times a second to a Kafka without
consumers. Printed: processor time of the broker and of this process for a transaction, and p50 and p95 of the whole and of its steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from cryptoviz.engines import kafka as embedded
from cryptoviz.engines.kafka import EmbeddedKafka
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import KafkaClients, OwnedProducer, Record, producer
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.measure import load, machine
from tests.support.ports import free_port
from tests.support.waiting import eventually

_STEPS = ("begin_transaction", "send_offsets_to_transaction", "flush", "commit_transaction")
_VALUE = b"x" * 300
_KEYS = 20
_WARM_UP_PART = 3
_FIRST_COMPILER = "-XX:TieredStopAtLevel=1"
_PROPERTIES: dict[str, dict[str, str]] = {
    "in use": {},
    "second compiler": {},
    "no verification": {"transaction.partition.verification.enable": "false"},
    "no linger of offsets": {"group.coordinator.append.linger.ms": "0"},
}
VARIANTS = tuple(_PROPERTIES)


class Timed:
    """A producer whose steps are timed."""

    def __init__(self, inner: Any, seconds: dict[str, list[float]]) -> None:
        self._inner = inner
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._timed(name, found) if name in _STEPS else found

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self._seconds[name].append(time.perf_counter() - begun)

        return timed


@contextmanager
def broker(variant: str) -> Iterator[tuple[Settings, psutil.Process]]:
    """An embedded Kafka with this variant of its options, and its process."""
    options = tuple(option for option in embedded._JVM_OPTIONS if variant != "second compiler" or option != _FIRST_COMPILER)
    properties = embedded.server_properties

    def varied(*arguments: Any) -> dict[str, str]:
        return properties(*arguments) | _PROPERTIES[variant]

    with (
        tempfile.TemporaryDirectory(prefix="cv-transactions-") as home,
        patch.object(embedded, "_JVM_OPTIONS", options),
        patch.object(embedded, "server_properties", varied),
    ):
        settings = claim_home(load_settings(home=Path(home), kafka={"port": free_port(), "controller_port": free_port()}))
        engine = EmbeddedKafka(settings)
        engine.start()
        try:
            assert engine.pid is not None
            yield settings, psutil.Process(engine.pid)
        finally:
            engine.stop()


def connected(owned: OwnedProducer) -> bool:
    """Whether it is connected now: the broker answers before its coordinators do."""
    with suppress(EngineUnavailable):
        owned.connect()
        return True
    return False


def measure(variant: str, rate: float, count: int, rows: int) -> str:
    """A line of the table."""
    seconds: dict[str, list[float]] = defaultdict(list)
    whole: list[float] = []
    with broker(variant) as (settings, process):
        topic = settings.kafka.stream_topic
        clients = KafkaClients(producer=lambda *given: Timed(producer(*given), seconds))
        owned = OwnedProducer(settings.kafka, "bench-transactions", topic, clients)
        eventually(lambda: connected(owned))
        records = [Record(topic, b"key-%d" % (number % _KEYS), _VALUE) for number in range(rows)]

        def run(number_of: int, name: str) -> None:
            begun = time.monotonic()
            for number in range(number_of):
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
                at = time.perf_counter()
                owned.commit(records, number, f"{name}-{number}")
                whole.append(time.perf_counter() - at)

        run(count // _WARM_UP_PART, "warm-up")
        seconds.clear()
        whole.clear()
        mine = psutil.Process()
        before = [sum(each.cpu_times()[:2]) for each in (process, mine)]
        run(count, "run")
        broker_s, client_s = (sum(each.cpu_times()[:2]) - was for each, was in zip((process, mine), before, strict=True))
        owned.close()
    cells = [f"{broker_s / count * 1000:.1f}", f"{client_s / count * 1000:.1f}", _quantiles(whole), *(_quantiles(seconds[step]) for step in _STEPS)]
    return f"| {variant} | {' | '.join(cells)} |"


def _quantiles(found: list[float]) -> str:
    cuts = statistics.quantiles(found, n=20)
    return f"{statistics.median(found) * 1000:.1f} / {cuts[-1] * 1000:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transactions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS[:3], help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=30.0, help="transactions a second (default %(default)s)")
    parser.add_argument("--count", type=int, default=900, help="transactions (default %(default)s)")
    parser.add_argument("--rows", type=int, default=100, help="records of a transaction (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of all variants in turns (default %(default)s)")
    given = parser.parse_args()
    print(f"{given.rate:g} transactions a second of {given.rows} records. Machine: {machine()}. Load before: {load()}.")
    print(f"| variant | broker, ms | client, ms | whole, p50 / p95 ms | {' | '.join(_STEPS)} |")
    print("|---" * (4 + len(_STEPS)) + "|")
    for _ in range(given.rounds):
        for variant in given.variants:
            print(measure(variant, given.rate, given.count, given.rows), flush=True)
    print(f"Load after: {load()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
