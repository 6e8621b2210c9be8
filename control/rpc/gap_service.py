"""`GapsService`: reads the gap ledger in a separate process, so that Arrow's memory is released. The contract is in gaps.proto."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from actors.ray_actor import NoAnswer, run_in_worker
from cryptoviz.control.v1 import gaps_pb2 as pb
from cryptoviz.control.v1.gaps_pb2_grpc import GapsServiceServicer
from cryptoviz.errors import EngineUnavailable, InvalidRequest, UnknownAsset
from cryptoviz.gaps import Gap, GapScope, GapState
from cryptoviz.rpc.convert import moment_ms
from cryptoviz.rpc.convert_gaps import gap_to_proto
from cryptoviz.settings import Settings

__all__ = ["GapReader", "GapService", "ray_gap_reader"]

_MOST = 10_000
"""Gaps per response: a gap takes about 150 bytes, a response at most 4 MiB."""

_READ_TIMEOUT_S = 90.0
"""A new process imports Arrow and Delta: seconds, or tens of seconds on a machine at full load."""

GapReader = Callable[[], Awaitable[list[Gap]]]
"""Reads the whole ledger, in order of time. Raises EngineUnavailable; NoAnswer after its timeout."""
Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class GapService(GapsServiceServicer):
    """The RPC."""

    def __init__(self, read: GapReader, settings: Settings) -> None:
        self._read = _Shared(read)
        self._settings = settings

    async def ListGaps(self, request: pb.ListGapsRequest, context: Context) -> pb.ListGapsResponse:
        del context
        of_provider = request.scope == pb.GAP_SCOPE_PROVIDER
        subjects = set(request.subjects)
        if subjects and not of_provider:
            try:
                subjects = {asset.asset_id for asset in self._settings.find_assets(request.subjects)}
            except UnknownAsset as unknown:
                raise InvalidRequest.of(("subjects", unknown.message)) from None
        try:
            ledger = await self._read()
        except NoAnswer as late:
            raise EngineUnavailable(late.message, engine="lake") from None
        start_ms, end_ms = moment_ms(request, "start"), moment_ms(request, "end")
        found = [
            gap
            for gap in ledger
            if gap.scope is (GapScope.PROVIDER if of_provider else GapScope.ASSET)
            and (not subjects or gap.subject in subjects)
            and (start_ms is None or gap.to_ms >= start_ms)
            and (end_ms is None or gap.from_ms < end_ms)
            and (request.with_filled or gap.state is not GapState.FILLED)
        ]
        return pb.ListGapsResponse(gaps=map(gap_to_proto, found[-_MOST:]), total=len(found))


class _Shared:
    """A reader whose concurrent callers share one read: each read starts a process, and the ledger lags by a minute."""

    def __init__(self, read: GapReader) -> None:
        self._read = read
        self._reading: asyncio.Task[list[Gap]] | None = None

    async def __call__(self) -> list[Gap]:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(self._done)
        # A cancelled caller must not cancel the read of the others.
        return await asyncio.shield(self._reading)

    def _done(self, task: asyncio.Task[list[Gap]]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # mark as retrieved; waiting callers get it from the await


def ray_gap_reader(settings: Settings) -> GapReader:
    """A reader that runs in a Ray worker, which ends after being idle. The controller does not load Arrow and Delta."""

    async def read() -> list[Gap]:
        found: list[Gap] = await run_in_worker(_read, settings, timeout_s=_READ_TIMEOUT_S)
        return found

    return read


def _read(settings: Settings) -> list[Gap]:
    from cryptoviz.lake.gap_ledger import read_gaps  # Arrow and Delta take a second and 100 MB, in this process only

    return read_gaps(settings)
