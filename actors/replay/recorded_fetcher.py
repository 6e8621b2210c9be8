"""A provider's network made of a recording: each call gets the exchange that it got then, in the order in which they ended then."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from actors.fetching.http import full_address
from actors.publishing.exchange_recorder import is_cut
from cryptoviz.providers.failures import failure
from cryptoviz.providers.response import Exchange, HttpResponse
from cryptoviz.records import Call, FallbackReason

__all__ = ["BASE_URL", "RecordedExchange", "RecordedFetcher", "ReplayClock"]

T = TypeVar("T")
BASE_URL = "http://recorded.invalid"
"""Stands for the host, which may have been another one then: calls are known by what follows."""
TIMEOUT_S = 600.0
"""No recorded answer takes time; this only ends a provider that waits for something else."""
SETTLE_ROUNDS = 8
"""Turns of the event loop after which every task that a call's end sets free has made its own next call: end, free the slot, take it, call."""


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """One row of the raw table. Times are UTC epoch ms."""

    fetch_id: str
    endpoint: str
    finished_ts: int
    status: int | None
    outcome: str
    error: str | None
    headers: Mapping[str, str]
    body: str | None


class ReplayClock:
    """Stands where it is put; sleeping takes no time."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        """UTC epoch milliseconds."""
        return self.ms

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Only lets others go on."""
        del seconds
        await asyncio.sleep(0)


@dataclass(order=True, slots=True)
class _Waiting:
    rank: int
    turn: asyncio.Future[None] = field(compare=False)


class RecordedFetcher:
    """See `cryptoviz.providers.fetcher.Fetcher`. For one poll at a time: `load` it before.

    Attributes:
        problems: why the poll cannot be done again as it was: what the provider asked for, or got, is not in the recording.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._exchanges: Mapping[str, RecordedExchange] = {}
        self._recorded: Sequence[Call] = ()
        # Of the attempt: calls that have not been made again, by their rank.
        self._left: dict[int, Call] = {}
        self._alone = True
        self._time_was_over = False
        self._waiting: list[_Waiting] = []
        self._rounds_left = 0
        self.last = Exchange()
        self.calls: list[Call] = []
        self.problems: list[str] = []

    @property
    def timeout_s(self) -> float:
        """See `Fetcher`."""
        return TIMEOUT_S

    def load(self, calls: Sequence[Call], exchanges: Mapping[str, RecordedExchange]) -> None:
        """Take in the calls of the next poll, and the exchanges by their fetch ids."""
        self._recorded, self._exchanges, self.problems = calls, exchanges, []

    def begin(self, tick_ts: int, attempt: int) -> None:
        """See `Fetcher`."""
        self.last = Exchange(tick_ts, attempt)
        if attempt == 1:
            self.calls = []
        self._left = {rank: call for rank, call in enumerate(self._recorded) if call.attempt == attempt}
        self._alone = len(self._left) == 1
        self._time_was_over = any(self._outcome(call) == FallbackReason.TIMEOUT for call in self._left.values())
        self._waiting = []

    async def aclose(self) -> None:
        """Nothing to let go of."""

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[bytes], bytes] | None = None,
    ) -> T:
        """What the call got then, through `parse` of now. Raises as `HttpFetcher.get`."""
        del headers, shorten
        wanted = str(full_address(self._provider, url, params)).removeprefix(BASE_URL)
        rank = next((rank for rank, call in self._left.items() if self._endpoint(call).endswith(wanted)), None)
        if rank is None:
            # A call that was not made then: its time was over, or the provider asks for other things today.
            if not self._time_was_over:
                self.problems.append(f"{self._provider} asks for {wanted[:200]}, which it did not ask for then")
            raise failure(self._provider, FallbackReason.TIMEOUT, "not in the recording")
        call = self._left.pop(rank)
        if not self._alone:
            # Also the first one: what else was begun before it ended must begin before it ends.
            await self._turn(rank)
        return self._answer(call, parse)

    def _answer(self, call: Call, parse: Callable[[HttpResponse], T]) -> T:
        self.calls.append(call)
        if not call.fetch_id:
            raise failure(self._provider, FallbackReason(call.outcome), "the call was never sent")
        found = self._exchanges[call.fetch_id]
        self.last = replace(self.last, fetch_id=found.fetch_id, finished_ms=found.finished_ts)
        is_whole = call.whole and found.status is not None and found.body is not None and not is_cut(found.error)
        if is_whole:
            body = (found.body or "").encode()
            return parse(HttpResponse(found.status or 0, found.headers, body, found.finished_ts, found.fetch_id))
        if found.outcome == "ok":
            self.problems.append(f"the body of {self._provider}'s exchange {call.fetch_id} was cut when it was recorded")
            raise failure(self._provider, FallbackReason.BAD_PAYLOAD, "not in the recording")
        raise failure(self._provider, FallbackReason(found.outcome), found.error or "as recorded")

    def _endpoint(self, call: Call) -> str:
        return self._exchanges[call.fetch_id].endpoint if call.fetch_id else call.endpoint

    def _outcome(self, call: Call) -> str:
        return self._exchanges[call.fetch_id].outcome if call.fetch_id else call.outcome

    async def _turn(self, rank: int) -> None:
        """Return when the calls that ended earlier have ended, as far as they are made at all."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rank, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._settle)
        heapq.heappush(self._waiting, waiting)
        self._rounds_left = SETTLE_ROUNDS
        await waiting.turn

    def _settle(self) -> None:
        if not self._waiting:
            return
        self._rounds_left -= 1
        if self._rounds_left <= 0:
            first = heapq.heappop(self._waiting)
            if not first.turn.done():
                first.turn.set_result(None)
            self._rounds_left = SETTLE_ROUNDS
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._settle)
