from __future__ import annotations

from pathlib import Path

import pytest

from actors.protection.breaker import Breaker
from cryptoviz.provider_status import BreakerState
from cryptoviz.records import FallbackReason
from cryptoviz.settings import BreakerSettings

SETTINGS = BreakerSettings(failures=5, failing_s=10, open_s=30, max_open_s=100)
DOWN, SLOW = FallbackReason.UNAVAILABLE, FallbackReason.TIMEOUT


def breaker(path: Path | None = None, settings: BreakerSettings = SETTINGS, jitter: float = 0.0) -> Breaker:
    return Breaker(settings, path, uniform=lambda: jitter)


def opened(path: Path | None = None) -> Breaker:
    one = breaker(path)
    for n in range(6):
        one.failed(DOWN, n * 2_000)
    return one


def probe_at(one: Breaker) -> int:
    probe_ms = one.status().probe_ms
    assert probe_ms is not None
    return probe_ms


@pytest.mark.parametrize(
    ("reasons", "every_s", "opens_at"),
    [
        ([DOWN] * 9, 60, 4),
        ([SLOW] * 9, 60, 2),
        ([SLOW, DOWN, SLOW, DOWN], 60, 2),
        ([DOWN] * 9, 2, 5),
        ([SLOW] * 9, 0.5, None),
        ([FallbackReason.BAD_PAYLOAD] * 6, 60, 4),
        ([FallbackReason.RATE_LIMITED] * 20, 60, None),
        ([FallbackReason.QUOTA, FallbackReason.AUTH] * 10, 60, None),
    ],
)
def test_when_the_breaker_opens(reasons, every_s, opens_at):
    one = breaker()
    open_after = None
    for n, reason in enumerate(reasons):
        one.failed(reason, round(n * every_s * 1000))
        if open_after is None and one.status().state is BreakerState.OPEN:
            open_after = n
    assert open_after == opens_at


def test_a_good_poll_resets_the_failure_count():
    one = breaker()
    for n in range(20):
        (one.good if n % 4 == 3 else lambda now: one.failed(DOWN, now))(n * 60_000)
    assert one.status().state is BreakerState.CLOSED


def test_one_probe_and_back_to_closed():
    one = opened()
    probe_ms = one.status().probe_ms
    assert probe_ms == 10_000 + 30_000
    assert not one.allows(probe_ms - 1)
    assert one.allows(probe_ms)
    assert one.status().state is BreakerState.HALF_OPEN
    assert not one.allows(probe_ms + 1)
    one.good(probe_ms + 100)
    assert one.status().state is BreakerState.CLOSED
    assert one.allows(probe_ms + 101)


def test_failed_probes_double_the_wait_up_to_the_maximum():
    one = opened()
    waits = []
    for _ in range(4):
        now = probe_at(one)
        assert one.allows(now)
        one.failed(DOWN, now)
        waits.append((probe_at(one) - now) / 1000)
    assert waits == [60, 100, 100, 100]
    assert one.status().opens_total == 5
    assert one.allows(probe_at(one))
    one.good(10**9)
    for n in range(6):
        one.failed(DOWN, 10**9 + n * 2_000)
    assert one.status().probe_ms == 10**9 + 10_000 + 30_000


def test_jitter_shortens_the_wait_by_a_fifth_at_most():
    one = breaker(jitter=1.0)
    for n in range(6):
        one.failed(DOWN, n * 2_000)
    assert one.status().probe_ms == 10_000 + 24_000


def test_an_abandoned_probe_is_available_again():
    one = opened()
    now = probe_at(one)
    assert one.allows(now)
    one.abandoned(now + 5)
    assert one.allows(now + 5)


def test_a_rate_limited_probe_closes_the_breaker():
    one = opened()
    now = probe_at(one)
    assert one.allows(now)
    one.failed(FallbackReason.RATE_LIMITED, now)
    assert one.status().state is BreakerState.CLOSED


def test_a_breaker_opened_by_the_operator_stays_open_until_reset():
    one = breaker()
    one.trip("maintenance", 5)
    assert (one.status().by_operator, one.status().reason, one.status().probe_ms) == (True, "maintenance", None)
    assert not one.allows(10**12)
    one.good(6)
    assert not one.allows(7)
    one.reset(8)
    assert one.allows(8)
    assert not one.status().by_operator


def test_an_open_breaker_is_restored_after_a_restart(tmp_path: Path):
    path = tmp_path / "run" / "breaker.json"
    first = opened(path)
    second = breaker(path)
    second.load()
    assert second.status().state is BreakerState.OPEN
    assert second.status().probe_ms == first.status().probe_ms
    assert second.allows(probe_at(first))
    second.failed(DOWN, 50_000)
    assert second.status().probe_ms == 50_000 + 60_000
    second.trip("by hand", 60_000)
    third = breaker(path)
    third.load()
    assert third.status().by_operator
    third.reset(70_000)
    fourth = breaker(path)
    fourth.load()
    assert fourth.status().state is BreakerState.CLOSED


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"since_ms": "x"}'])
def test_an_unreadable_file_means_closed(tmp_path: Path, content: bytes):
    path = tmp_path / "breaker.json"
    path.write_bytes(content)
    one = breaker(path)
    one.load()
    assert one.allows(0)
