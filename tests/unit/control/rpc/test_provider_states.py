"""The RPCs about providers over a real socket, with fakes behind them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from control.reconcile.components import ComponentSpec, ComponentTable
from cryptoviz.client import ControlClient
from cryptoviz.components import ComponentKind, ComponentState
from cryptoviz.errors import ComponentLost, ControlRefused, UnknownComponent
from cryptoviz.provider_status import (
    BreakerState,
    BreakerStatus,
    HoldStatus,
    IdFault,
    IdProblem,
    IdsStatus,
    ProviderStatus,
    QuotaStatus,
    ScraperStatus,
)
from tests.support.control_server import Serving, serving
from tests.support.waiting import eventually

STATUS = ScraperStatus(
    breaker=BreakerStatus(BreakerState.OPEN, "failing for 12 s: timeout", 1_700_000_000_000, 1_700_000_030_000, 6, 2),
    quotas=(
        QuotaStatus("day", 333, 100, 233, 1_700_006_400_000),
        QuotaStatus("month", 10_000, 9_999, 1, 1_701_388_800_000, 1_700_100_000_000),
    ),
    hold=HoldStatus("rate_limited", 1_700_000_060_000),
    rate=0.25,
    latency_ms=120.5,
    last_good_ms=1_699_999_999_999,
    last_error="coingecko: no answer",
    last_error_ms=1_700_000_000_001,
    ids=IdsStatus(1_700_000_000_002, "the list is empty", (IdProblem("polygon", "MATICUSDT", IdFault.NOT_TRADED, "BREAK"),)),
)
TRIPPED = ScraperStatus(breaker=BreakerStatus(BreakerState.OPEN, "by hand", 5, None, 0, 0, by_operator=True))


def is_running(client: ControlClient, name: str) -> bool:
    return client.get(name).state is ComponentState.RUNNING


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    tree = {"collect": {"providers": ["kraken", "binance", "coinbase"]}, "providers": {"coinbase": {"enabled": False}}}
    table = ComponentTable([ComponentSpec(f"scraper/{name}", ComponentKind.SCRAPER, "x:X", ()) for name in ("kraken", "binance")])
    with serving(tmp_path, table, tree) as here:
        here.runtime.answers[("scraper/kraken", "provider_status")] = STATUS
        here.runtime.answers[("scraper/kraken", "trip_breaker")] = TRIPPED
        here.runtime.answers[("scraper/kraken", "reset_breaker")] = ScraperStatus()
        here.runtime.answers[("scraper/binance", "provider_status")] = ComponentLost("its process ended", component="scraper/binance")
        here.runtime.answers[("scraper/binance", "trip_breaker")] = ComponentLost("its process ended", component="scraper/binance")
        with here.client() as client:
            client.start_pipeline()
            for name in ("scraper/kraken", "scraper/binance"):
                eventually(partial(is_running, client, name))
        yield here


def test_every_provider_is_listed_in_order_whether_it_answers_or_not(served: Serving):
    with served.client() as client:
        one, two, off = client.providers()
    assert one == ProviderStatus("kraken", 1, True, ComponentState.RUNNING, one.message, STATUS)
    assert (two.name, two.rank, two.state, two.scraper) == ("binance", 2, ComponentState.RUNNING, None)
    assert "its process ended" in two.message
    assert off == ProviderStatus("coinbase", 3, False, ComponentState.STOPPED, "not enabled")


def test_one_provider(served: Serving):
    with served.client() as client:
        assert client.provider("kraken").scraper == STATUS
        with pytest.raises(UnknownComponent, match="no provider 'three'; valid: kraken, binance, coinbase"):
            client.provider("three")


@pytest.mark.parametrize("name", ["", "../one", "one\n", "ONE", "a" * 100, "scraper/kraken"])
def test_a_malformed_name_is_refused(served: Serving, name: str):
    with served.client() as client:
        for call in (client.provider, client.trip_breaker, client.reset_breaker):
            with pytest.raises(ControlRefused, match="INVALID_ARGUMENT: name"):
                call(name)


def test_the_breaker_is_opened_and_closed(served: Serving):
    with served.client() as client:
        assert client.trip_breaker("kraken", "by hand").scraper == TRIPPED
        assert client.reset_breaker("kraken").scraper == ScraperStatus()
    assert served.runtime.count("trip_breaker", "scraper/kraken") == served.runtime.count("reset_breaker", "scraper/kraken") == 1


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\x1b[31m"])
def test_a_reason_is_one_printable_line(served: Serving, reason: str):
    with served.client() as client, pytest.raises(ControlRefused, match="INVALID_ARGUMENT: reason"):
        client.trip_breaker("kraken", reason)


def test_a_scraper_that_does_not_answer_cannot_be_switched(served: Serving):
    with served.client() as client:
        with pytest.raises(ControlRefused, match="FAILED_PRECONDITION: the scraper of binance does not answer"):
            client.trip_breaker("binance")
        with pytest.raises(ControlRefused, match="FAILED_PRECONDITION"):
            client.trip_breaker("coinbase")
        client.stop("scraper/kraken")
        eventually(lambda: client.get("scraper/kraken").state is ComponentState.STOPPED)
        with pytest.raises(ControlRefused, match=r"FAILED_PRECONDITION.*STOPPED"):
            client.trip_breaker("kraken")
        assert client.provider("kraken").state is ComponentState.STOPPED


def test_json_says_times_in_utc_and_nothing_twice():
    row = ProviderStatus("kraken", 1, True, ComponentState.RUNNING, "", STATUS).to_json_dict()
    assert row["breaker"] == {
        "state": "open",
        "reason": "failing for 12 s: timeout",
        "since": "2023-11-14T22:13:20.000Z",
        "probe_at": "2023-11-14T22:13:50.000Z",
        "score": 6,
        "opens_total": 2,
        "by_operator": False,
    }
    assert row["quotas"][1] == {
        "period": "month",
        "limit": 10_000,
        "used": 9_999,
        "left": 1,
        "resets_at": "2023-12-01T00:00:00.000Z",
        "exhausted_at": "2023-11-16T02:00:00.000Z",
    }
    assert row["hold"] == {"reason": "rate_limited", "until": "2023-11-14T22:14:20.000Z"}
    empty = ProviderStatus("binance", 2, False, ComponentState.STOPPED, "not enabled").to_json_dict()
    assert set(empty) == set(row)
