"""The gap ledger through the real gRPC server and client, with gaps written by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control.rpc import gap_service
from control.rpc.methods import GAPS, budget_of
from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused, EngineUnavailable
from cryptoviz.gaps import Gap, GapScope, GapState
from cryptoviz.rpc.convert_gaps import gap_from_proto, gap_to_proto
from tests.support.control_server import Serving, serving
from tests.support.waiting import eventually

T = 1_764_028_800_000
MINUTE = 60_000
OPEN = Gap(GapScope.ASSET, "bitcoin", T, T + 4 * MINUTE, MINUTE, 5, "not_running", T + 9 * MINUTE)
PARTLY = Gap(GapScope.ASSET, "ethereum", T + MINUTE, T + 2 * MINUTE, MINUTE, 2, "dropped", T + 9 * MINUTE, 1, ("kraken",), T + 10 * MINUTE)
FILLED = Gap(GapScope.ASSET, "bitcoin", T + 9 * MINUTE, T + 9 * MINUTE, MINUTE, 1, "timeout", T, 1, ("binance", "kraken"), T)
OF_PROVIDER = Gap(GapScope.PROVIDER, "coingecko", T, T, MINUTE, 1, "rate_limited", T)
LEDGER = [OPEN, PARTLY, FILLED, OF_PROVIDER]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as here:
        here.gaps = LEDGER
        yield here


@pytest.fixture
def client(served: Serving) -> Iterator[ControlClient]:
    with served.client() as client:
        yield client


def test_messages_keep_everything() -> None:
    assert [gap_from_proto(gap_to_proto(gap)) for gap in LEDGER] == LEDGER
    assert [gap.state for gap in LEDGER] == [GapState.OPEN, GapState.PARTLY, GapState.FILLED, GapState.OPEN]
    assert len({gap.gap_id for gap in LEDGER}) == len(LEDGER)


def test_which_gaps_are_listed(client: ControlClient) -> None:
    assert client.gaps() == [OPEN, PARTLY]
    assert client.gaps(with_filled=True) == [OPEN, PARTLY, FILLED]
    assert client.gaps(["BTC"]) == [OPEN]
    assert client.gaps(of_providers=True) == [OF_PROVIDER]
    # Selected by their ticks: the last tick is included, the end of the range is not.
    assert client.gaps(start_ms=T + 3 * MINUTE) == [OPEN]
    assert client.gaps(start_ms=T + 4 * MINUTE) == [OPEN]
    assert client.gaps(start_ms=T + 4 * MINUTE + 1) == []
    assert client.gaps(end_ms=T + MINUTE) == [OPEN]


def test_a_ledger_longer_than_a_response_is_listed_whole(served: Serving, client: ControlClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven outages of three assets each, and responses of five gaps: pages end between the assets of an outage.
    monkeypatch.setattr(gap_service, "_MOST", 5)
    outages = [T + i * MINUTE for i in range(7)]
    ledger = [Gap(GapScope.ASSET, asset, at, at, MINUTE, 1, "timeout", T) for at in outages for asset in ("bitcoin", "ethereum", "solana")]
    served.gaps = ledger
    assert client.gaps() == ledger
    assert client.gaps(["ETH"], start_ms=T + MINUTE) == [gap for gap in ledger if gap.subject == "ethereum"][1:]


def test_readings_at_the_same_time_are_one(served: Serving, client: ControlClient) -> None:
    """Each read is a process, so that many callers must share a read."""
    release, began = asyncio.Event(), []

    async def slow() -> list[Gap]:
        began.append(1)
        await release.wait()
        return LEDGER

    served.read_gaps = slow
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.gaps) for _ in range(6)]
        budget = budget_of(f"/{GAPS}/ListGaps")
        eventually(lambda: served.server is not None and served.server.call_counts.count(budget) == 6)
        served.loop.call_soon_threadsafe(release.set)
        assert [answer.result(120) for answer in answers] == [[OPEN, PARTLY]] * 6
    assert began == [1]
    # The next call reads again.
    assert client.gaps() == [OPEN, PARTLY]
    assert began == [1, 1]


def test_refusals(served: Serving, client: ControlClient) -> None:
    with pytest.raises(ControlRefused, match="unknown asset 'nothing'") as refused:
        client.gaps(["nothing"])
    assert refused.value.code == "INVALID_ARGUMENT"
    served.gaps = EngineUnavailable("the object store did not give it", engine="object-store")
    with pytest.raises(EngineUnavailable, match="the object store did not give it"):
        client.gaps()
