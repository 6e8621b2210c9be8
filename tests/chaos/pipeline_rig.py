"""Shared by the chaos tests of a whole pipeline: its processes, its recovery, and the comparison of what the market served, Kafka and the lake."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import pyarrow.compute as pc

from actors.collecting.tick_recorder import RecordedTick, tick_from
from bench.idle import kind_of
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.components import ComponentStatus
from cryptoviz.errors import CryptoVizError
from cryptoviz.records import Kind, UnifiedRecord
from tests.support.clock import now_ms
from tests.support.lake_readers import by_delta
from tests.support.measure import say
from tests.support.pipeline import Demo, keys
from tests.support.processes import processes_of
from tests.support.waiting import eventually

__all__ = [
    "CONTROLLER", "Recovery", "assert_exact", "assert_no_longer_said", "assert_none_skipped",
    "closed_ticks", "component", "in_order", "live", "newest_in_lake",
    "process_of", "stopped", "ticks_since",
]  # fmt: skip

CONTROLLER = "controller"
_MIN_ROWS = 1000


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The stopped process may be replaced meanwhile, that is, killed while it is stopped."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def component(demo: Demo, name: str) -> ComponentStatus:
    """The status of a component, also while a new controller starts."""
    with demo.control() as client:
        return client.get(name)


def assert_no_longer_said(demo: Demo, name: str, text: str) -> None:
    """Check that the status of a component stops to contain `text`: the controller asks components one after the other, which takes a round."""
    eventually(lambda: text not in component(demo, name).message, 60, 0.1)


def process_of(demo: Demo, name: str) -> psutil.Process:
    """Process of a component, which may be starting, or of the controller."""
    if name == CONTROLLER:
        return eventually(lambda: _only([one for one in processes_of(demo.settings.home) if kind_of(one) == "Controller"]), 120, 0.2)
    return psutil.Process(eventually(lambda: component(demo, name).pid, 120, 0.2))


def _only(found: list[psutil.Process]) -> psutil.Process:
    assert len(found) == 1, found  # another may be about to end
    return found[0]


def in_order(demo: Demo) -> bool:
    """Whether every enabled component runs."""
    with demo.control() as client:
        pipeline = client.list()
        assert str(pipeline.state) == "RUNNING", pipeline.reason
    return True


def live(demo: Demo) -> list[UnifiedRecord]:
    """The committed records of polls."""
    return [record for record in demo.stream().values() if record.kind == Kind.LIVE]


def ticks_since(demo: Demo, moment_ms: int) -> set[int]:
    """Later ticks with a record."""
    return {record.tick_ts for record in live(demo) if record.tick_ts > moment_ms}


def newest_in_lake(demo: Demo) -> float:
    """Newest tick of the prices table, UTC epoch ms."""
    newest = pc.max(by_delta(demo.settings, "prices", ["tick_ts"])["tick_ts"]).as_py()
    return float(newest.timestamp() * 1000) if newest else 0.0


class Recovery:
    """Time from the end of a fault until the lake has a tick that was scheduled after it, and every component runs."""

    def __init__(self) -> None:
        self._begun_ms = now_ms()
        self._begun_s = time.monotonic()

    def made(self, demo: Demo, timeout_s: float = 300.0) -> float:
        """Seconds until then."""

        def there() -> bool:
            try:
                in_order(demo)
                newest = newest_in_lake(demo)
            except (CryptoVizError, OSError) as error:
                raise AssertionError(str(error)) from error
            assert newest >= self._begun_ms, f"the newest tick of the lake is {(self._begun_ms - newest) / 1000:.1f} s older than the fault's end"
            return True

        eventually(there, timeout_s, 0.2)
        return time.monotonic() - self._begun_s


def closed_ticks(exchanges: Sequence[dict[str, Any]]) -> list[RecordedTick]:
    """The results of each tick, with or without prices, from the tick records."""
    own = [one for one in exchanges if one["provider"] == RECORDER and one["endpoint"] == TICK]
    assert set(Counter(one["fetch_id"] for one in own).values()) == {1}
    return [tick_from(one["tick_ts"], one["body"]) for one in own]


def assert_none_skipped(demo: Demo, since_ms: int) -> None:
    """Check that no later tick was dropped: each is recorded, and has a price of every asset if a provider answered in time."""
    exchanges = demo.exchanges()
    closed = {tick.closed.tick_ts: tick.closed for tick in closed_ticks(exchanges) if tick.closed.tick_ts > since_ms}
    step = demo.settings.collect.tick_ms
    assert sorted(closed) == list(range(since_ms + step, max(closed) + 1, step))
    answers = {one["fetch_id"] for one in exchanges if one["outcome"] == "ok"}
    answered = {tick_ts for tick_ts, tick in closed.items() if answers & {result.fetch_id for result in tick.results.values()}}
    found = Counter(record.tick_ts for record in live(demo) if since_ms < record.tick_ts <= max(closed))
    missing = answered - found.keys()
    assert not missing, f"{len(missing)} of {len(closed)} ticks have an answer and no record: {sorted(missing)[:5]}"
    assert set(found.values()) == {len(DEFAULT_ASSETS)}


def assert_exact(demo: Demo, wait_s: float = 240.0, at_least: int = _MIN_ROWS) -> int:
    """Compare what the market served with Kafka, and Kafka with the lake for both readers. Returns the number of records.

    No record is lost or duplicated, by topic position and by event; a tick has an asset at most once; a raw exchange is published once; every price
    was served by the market.
    """
    eventually(lambda: len(live(demo)) >= at_least, 300, 0.5)
    stream = demo.stream()
    records = [record for record in stream.values() if record.kind == Kind.LIVE]
    assert max(Counter(record.event_id for record in records).values()) == 1
    of_tick: dict[int, list[str]] = defaultdict(list)
    for record in records:
        of_tick[record.tick_ts].append(record.asset_id)
    assert all(len(assets) == len(set(assets)) for assets in of_tick.values())
    assert max(Counter(exchange["fetch_id"] for exchange in demo.exchanges()).values()) == 1
    served = {(entry["provider"], asset, price) for entry in demo.request_log() if entry["status"] == 200 for asset, price in entry["prices"].items()}
    unserved = [record for record in records if (record.provider, record.provider_asset_id, record.price) not in served]
    assert not unserved, f"{len(unserved)} prices were not served, as {unserved[0]}"

    expected = Counter(dict.fromkeys(stream, 1))
    eventually(lambda: not expected - keys(demo.lake_rows_by_delta()), wait_s, 0.5)
    read = (demo.lake_rows_by_delta(), demo.lake_rows_by_folder())
    later = Counter(dict.fromkeys(demo.stream(), 1))
    for rows in read:
        found = keys(rows)
        assert not expected - found
        assert not found - later
        assert set(found.values()) == {1}
        assert max(Counter(row["event_id"] for row in rows).values()) == 1
    say(f"{expected.total()} rows, none lost, none doubled, for both readers")
    return expected.total()
