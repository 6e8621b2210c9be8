"""Fetcher that answers a provider's calls from a recording: each call gets its recorded exchange, and calls end in their recorded order."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.fetching.http import full_address
from actors.publishing.exchange_recorder import is_cut
from cryptoviz.providers.failures import failure
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import Call, FallbackReason, RawExchange

__all__ = ["BASE_URL", "RecordedFetcher"]

T = TypeVar("T")
BASE_URL = "http://recorded.invalid"
"""Placeholder for the host, which may have changed since: calls are matched by path and query."""
TIMEOUT_S = 600.0
"""Recorded responses take no time; the timeout ends a provider that waits for something else."""
SETTLE_ROUNDS = 8
"""Iterations of the event loop after which every task released by the end of a call has made its next call (end, release slot, acquire, call)."""


@dataclass(order=True, slots=True)
class _Waiting:
    rank: int
    turn: asyncio.Future[None] = field(compare=False)


class RecordedFetcher:
    """See `cryptoviz.providers.fetcher.Fetcher`. For one poll at a time: `load` it before.

    Attributes:
        problems: why the poll cannot be reproduced: requests or responses that are not in the recording.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._exchanges: Mapping[str, RawExchange] = {}
        self._recorded: Sequence[Call] = ()
        self._attempt = 0
        # Recorded calls of this attempt that have not been repeated yet, by their rank.
        self._left: dict[int, Call] = {}
        self._alone = True
        self._timed_out = False
        self._waiting: list[_Waiting] = []
        self._rounds_left = 0
        self.problems: list[str] = []

    @property
    def timeout_s(self) -> float:
        return TIMEOUT_S

    def load(self, calls: Sequence[Call], exchanges: Mapping[str, RawExchange]) -> None:
        """Set the recorded calls of the next poll, and the exchanges by their fetch ids."""
        self._recorded, self._exchanges, self._attempt, self.problems = calls, exchanges, 0, []

    def _begin(self, attempt: int) -> None:
        self._attempt = attempt
        self._left = {rank: call for rank, call in enumerate(self._recorded) if call.attempt == attempt}
        self._alone = len(self._left) == 1
        self._timed_out = any(self._outcome(call) == FallbackReason.TIMEOUT for call in self._left.values())
        self._waiting = []

    async def aclose(self) -> None:
        pass

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None = None,
        log: CallLog | None = None,
    ) -> T:
        """The recorded response, parsed by the present `parse`. Raises as `HttpFetcher.get`."""
        del headers, shorten
        log = log or CallLog()
        if log.attempt != self._attempt:
            self._begin(log.attempt)
        wanted = str(full_address(self._provider, url, params)).removeprefix(BASE_URL)
        rank = next((rank for rank, call in self._left.items() if self._endpoint(call).endswith(wanted)), None)
        if rank is None:
            # A call that was not recorded: the poll had timed out before it, or the provider's requests have changed.
            if not self._timed_out:
                self.problems.append(f"{self._provider} requests {wanted[:200]}, which is not in the recording")
            raise failure(self._provider, FallbackReason.TIMEOUT, "not in the recording")
        call = self._left.pop(rank)
        if not self._alone:
            # Also the first call: calls started before its recorded end must start before it ends.
            await self._wait_turn(rank)
        return self._answer(call, parse, log)

    def _answer(self, call: Call, parse: Callable[[HttpResponse], T], log: CallLog) -> T:
        log.calls.append(call)
        if not call.fetch_id:
            raise failure(self._provider, FallbackReason(call.outcome), "the call was never sent")
        found = self._exchanges[call.fetch_id]
        log.exchanges.append(found)
        is_whole = call.whole and found.status is not None and found.body is not None and not is_cut(found.error)
        if is_whole:
            body = (found.body or "").encode()
            return parse(HttpResponse(found.status or 0, found.rate_limit_headers, body, found.finished_ts, found.fetch_id))
        if found.outcome == "ok":
            self.problems.append(f"the body of {self._provider}'s exchange {call.fetch_id} was truncated in the recording")
            raise failure(self._provider, FallbackReason.BAD_PAYLOAD, "not in the recording")
        raise failure(self._provider, FallbackReason(found.outcome), found.error or "as recorded")

    def _endpoint(self, call: Call) -> str:
        return self._exchanges[call.fetch_id].endpoint if call.fetch_id else call.endpoint

    def _outcome(self, call: Call) -> str:
        return self._exchanges[call.fetch_id].outcome if call.fetch_id else call.outcome

    async def _wait_turn(self, rank: int) -> None:
        """Wait until the calls that ended earlier in the recording have ended, if they are made at all."""
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
