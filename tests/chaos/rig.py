"""Shared by the lake's chaos tests: load, a monitor that acts like the controller, and the comparison of Kafka with the lake."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import ray.exceptions
from deltalake import DeltaTable

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.errors import CryptoVizError, TerminalError
from cryptoviz.lake.objects import table_address
from cryptoviz.settings import Settings
from tests.support.lake_job import LakeHost, caught_up
from tests.support.lake_readers import READERS
from tests.support.measure import say
from tests.support.records import TICK
from tests.support.topics import Feed
from tests.support.waiting import eventually

__all__ = ["ROUNDS", "SEED", "Figures", "Keeper", "Load", "Progress", "assert_same_sets", "lag_over", "probe_of", "rows_committed"]

ROUNDS = int(os.environ.get("CRYPTOVIZ_TEST_ROUNDS", "1"))
"""How often each fault is made: once by default, three times by `make chaos`."""
SEED = int(os.environ.get("CRYPTOVIZ_TEST_SEED", "20221108"))
_MIN_ROWS = 1000
_GRACE_S = 15.0
"""As the controller's for the lake: unhealthy for so long, and the component is replaced."""


class Load(threading.Thread):
    """Publishes ticks of 17 coins about ten times per second. A context manager."""

    def __init__(self, feed: Feed, every_s: float = 0.1, first_tick: int = TICK) -> None:
        super().__init__(name="load", daemon=True)
        self._first_tick = first_tick
        self._feed = feed
        self._every_s = every_s
        self._stop_now = threading.Event()

    def run(self) -> None:
        tick = self._first_tick + self._feed.exchanges * 1000
        while not self._stop_now.wait(self._every_s):
            self._feed.tick(tick)
            tick += 1000

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join(120)


def probe_of(host: LakeHost) -> Any:
    """None while Ray restarts the actor."""
    try:
        return host.probe()
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        return None


def rows_committed(settings: Settings, table: str = "prices") -> int:
    return int(DeltaTable(table_address(settings.s3, table).uri, storage_options=settings.s3.storage_options()).count())


class Keeper(threading.Thread):
    """Acts like the controller: starts the lake if it is not running, replaces it if it was unhealthy for the grace period."""

    def __init__(self, host: LakeHost) -> None:
        super().__init__(name="keeper", daemon=True)
        self.starts = 0
        self.replaced: list[str] = []
        self.refused: list[str] = []
        self.failed = ""
        """Why it may not be started again: what a person must act on."""
        self._host = host
        self._stop_now = threading.Event()

    def run(self) -> None:
        ill_since: float | None = None
        while not self._stop_now.wait(0.2):
            seen = probe_of(self._host)
            if seen is None or self.failed:
                continue
            if not seen.running:
                ill_since = None
                self._start()
            elif seen.healthy:
                ill_since = None
            elif ill_since is None:
                ill_since = time.monotonic()
            elif time.monotonic() - ill_since > _GRACE_S:
                self.replaced.append(seen.message)
                ill_since = None
                os.kill(seen.pid, 9)

    def _start(self) -> None:
        try:
            self._host.start()
            self.starts += 1
        except TerminalError as error:
            self.failed = str(error)
        except (CryptoVizError, ray.exceptions.RayError) as error:
            self.refused.append(str(error))
            self._stop_now.wait(1.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join(120)


@dataclass
class Figures:
    """Recovery times by fault, printed at the end with the machine's load."""

    name: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, fault: str, seconds: float) -> None:
        self.seconds.setdefault(fault, []).append(round(seconds, 1))
        say(f"{self.name}: {fault}: recovered after {seconds:.1f} s, load average {os.getloadavg()[0]:.1f}")

    def tell(self) -> None:
        say(f"{self.name}: recovery in s:", json.dumps(self.seconds))


def assert_same_sets(settings: Settings, feeds: Sequence[Feed], wait_s: float = 240.0) -> None:
    """Check that each event acknowledged by Kafka, by this test's count, is in the lake once, for a Delta reader and a plain reader of the folder."""
    report = caught_up(settings, wait_s)
    assert report.ok, report.to_text()
    expected = sum((feed.acknowledged for feed in feeds), Counter[str]())
    assert expected.total() >= _MIN_ROWS
    for reader in READERS:
        rows = reader(settings, "prices", ["kafka_topic_id", "kafka_partition", "kafka_offset", "event_id"])
        events = rows.column("event_id").to_pylist()
        assert Counter(events) == expected, reader.__name__
        assert rows.group_by(["kafka_topic_id", "kafka_partition", "kafka_offset"]).aggregate([]).num_rows == rows.num_rows, reader.__name__
        assert reader(settings, "raw", ["kafka_offset"]).num_rows == sum(feed.exchanges for feed in feeds), reader.__name__
    say(f"{expected.total()} rows, none lost, none doubled, for both readers")


class Progress:
    """Time from a fault until the lake has everything that Kafka had acknowledged by then, and continues."""

    def __init__(self, settings: Settings, feeds: Sequence[Feed], owed: int | None = None) -> None:
        self._settings = settings
        self._begun_s = time.monotonic()
        self._owed = sum(feed.rows for feed in feeds) if owed is None else owed

    def made(self, timeout_s: float = 300.0, batches: int = 1) -> float:
        """Seconds until then, and until `batches` further ticks are in the lake."""
        goal = self._owed + batches * len(DEFAULT_ASSETS)
        eventually(lambda: rows_committed(self._settings) >= goal, timeout_s, every_s=0.1)
        return time.monotonic() - self._begun_s


def lag_over(host: LakeHost, records: float, timeout_s: float = 120) -> Any:
    """The probe once the lake lags by this number of records."""
    return eventually(lambda: (seen := host.probe()).metrics.get("lag_records", 0) > records and seen, timeout_s, every_s=0.2)
