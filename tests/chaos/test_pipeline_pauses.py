"""Fault 30 in a whole pipeline: a process is stopped (SIGSTOP) and continued, and all others react as in operation."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator

import psutil
import pytest

from cryptoviz.records import Kind, UnifiedRecord
from tests.support.measure import say
from tests.support.pipeline import Demo, keys
from tests.support.processes import line_of, processes_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SCRAPER, COLLECTOR, CONTROLLER = "scraper/coingecko", "collector", "controller"
SHORT = [pytest.param(name, 7.0, marks=pytest.mark.short) for name in (SCRAPER, CONTROLLER)]
"""Longer than a transaction may last and a probe is waited for."""
LONG = [(name, seconds) for name in (SCRAPER, COLLECTOR, CONTROLLER) for seconds in (5.0, 20.0, 60.0, 120.0)]


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The stopped process may be replaced meanwhile, that is, killed while it is stopped."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def process_of(demo: Demo, name: str) -> psutil.Process:
    """Process id of a component or of the controller."""
    if name == CONTROLLER:
        (found,) = (one for one in processes_of(demo.settings.home) if line_of(one).startswith("ray::Controller"))
        return found
    with demo.control() as client:
        pid = client.get(name).pid
    assert pid
    return psutil.Process(pid)


def live(demo: Demo) -> list[UnifiedRecord]:
    return [record for record in demo.stream().values() if record.kind == Kind.LIVE]


def ticks_since(demo: Demo, moment_ms: int) -> set[int]:
    return {record.tick_ts for record in live(demo) if record.tick_ts > moment_ms}


def in_order(demo: Demo) -> bool:
    """Whether every enabled component runs."""
    with demo.control() as client:
        pipeline = client.list()
        assert str(pipeline.state) == "RUNNING", pipeline.reason
    return True


@pytest.mark.parametrize(("name", "seconds"), [*SHORT, *LONG])
def test_a_process_that_was_stopped_loses_and_doubles_nothing(demo: Demo, name: str, seconds: float) -> None:
    eventually(lambda: in_order(demo), 60, 0.5)
    with stopped(process_of(demo, name)):
        begun = max(record.tick_ts for record in live(demo))
        threading.Event().wait(seconds)
        during = ticks_since(demo, begun)
    eventually(lambda: in_order(demo), 120, 0.5)
    now = max(record.tick_ts for record in live(demo))
    eventually(lambda: len(ticks_since(demo, now)) >= 6, 60, 0.5)
    # Prices continued: from the other provider, or unaffected. Without the collector nothing is published, until the controller has replaced it.
    if name != COLLECTOR:
        assert during
    elif seconds <= 20:
        assert not during

    records = live(demo)
    assert Counter(Counter(record.event_id for record in records).values()).keys() == {1}
    of_tick: dict[int, list[str]] = defaultdict(list)
    for record in records:
        of_tick[record.tick_ts].append(record.asset_id)
    assert all(len(assets) == len(set(assets)) for assets in of_tick.values())
    fetches = Counter(exchange["fetch_id"] for exchange in demo.exchanges())
    assert set(fetches.values()) == {1}
    assert same_in_lake(demo) >= 1000


def same_in_lake(demo: Demo) -> int:
    """Check that every current record of Kafka is in the lake once, for both readers. Returns the number of records."""
    expected = Counter(dict.fromkeys(demo.stream(), 1))
    eventually(lambda: not expected - keys(demo.lake_rows_by_delta()), 60, 0.5)
    for rows in (demo.lake_rows_by_delta(), demo.lake_rows_by_folder()):
        found = keys(rows)
        assert not expected - found
        assert set(found.values()) == {1}
    say(f"{expected.total()} rows, none lost, none doubled, for both readers")
    return expected.total()
