"""Metrics of calls, and deadlines of calls that set none."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest

from control.rpc.call_metrics import BOUNDS_S, CallMetrics
from control.rpc.methods import budget_of
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1 import gaps_pb2
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.control.v1.gaps_pb2_grpc import GapsServiceStub
from cryptoviz.errors import UnknownComponent
from cryptoviz.gaps import Gap
from tests.support.control_server import Serving
from tests.support.waiting import eventually

CONTROL = "/cryptoviz.control.v1.ControlService/"
GAPS = "/cryptoviz.control.v1.GapsService/ListGaps"


def metrics(served: Serving, channel: grpc.Channel) -> dict[str, pb.CallMetrics]:
    answer = ControlServiceStub(channel).ListCallMetrics(pb.ListCallMetricsRequest(), metadata=served.metadata(), timeout=60)
    assert tuple(answer.bounds_s) == BOUNDS_S
    return {one.method.removeprefix(CONTROL): one for one in answer.methods}


def test_calls_are_counted_by_method_and_code(served: Serving, channel: grpc.Channel) -> None:
    with served.client() as client:
        for _ in range(3):
            client.get("page")
        with pytest.raises(UnknownComponent):
            client.get("nothing")
    watch = ControlServiceStub(channel).WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata())
    next(watch)
    watch.cancel()
    strange: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/x.Y/Z")
    for method in (strange, channel.unary_unary("/x.Y/Other"), channel.unary_unary(f"{CONTROL}StopComponent")):
        with pytest.raises(grpc.RpcError, match="authorization"):
            method(b"", timeout=60)

    def watched() -> bool:
        return "WatchPipeline" in metrics(served, channel)

    eventually(watched)
    found = metrics(served, channel)
    assert dict(found["GetComponent"].calls) == {"OK": 3, "NOT_FOUND": 1}
    assert sum(found["GetComponent"].latency) == 4
    assert found["GetComponent"].latency_sum_s > 0
    assert dict(found["WatchPipeline"].calls) == {"CANCELLED": 1}
    assert sum(found["WatchPipeline"].latency) == 0  # the duration of a stream is no latency
    # Callers choose names of methods: all unknown ones share an entry.
    assert dict(found["unknown"].calls) == {"UNAUTHENTICATED": 2}
    assert dict(found["StopComponent"].calls) == {"UNAUTHENTICATED": 1}
    assert sum(found["StopComponent"].latency) == 0


def test_the_client_returns_each_bucket_with_its_bound(served: Serving) -> None:
    with served.client() as client:
        client.get("page")
        (page,) = (one for one in client.call_metrics() if one.method == f"{CONTROL}GetComponent")
    assert page.calls == {"OK": 1}
    assert tuple(bound for bound, _ in page.latency) == (*BOUNDS_S, math.inf)
    assert sum(count for _, count in page.latency) == 1


def test_a_latency_is_counted_in_the_first_bucket_that_contains_it() -> None:
    metrics = CallMetrics()
    for took_s in (0.0, 0.001, 0.0011, 10.0, 10.1, 3600.0):
        metrics.add(f"{CONTROL}GetComponent", "OK", took_s)
    entry = metrics.methods[f"{CONTROL}GetComponent"]
    assert entry.latency == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 2]
    assert entry.total_s == pytest.approx(3620.1021)


def test_a_unary_call_without_a_deadline_gets_one(served: Serving, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rpc.methods._DEADLINES_S", {GAPS: 0.3})

    async def never() -> list[Gap]:
        await asyncio.Event().wait()
        raise AssertionError

    served.read_gaps = never
    with pytest.raises(grpc.RpcError) as late:
        GapsServiceStub(channel).ListGaps(gaps_pb2.ListGapsRequest(), metadata=served.metadata())
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert late.value.details() == "no answer within 0.3 s, the deadline of a call that sets none; repeat the call, with a deadline"
    assert served.server is not None
    eventually(lambda: served.server is not None and served.server.call_counts.count(budget_of(GAPS)) == 0)


def test_a_stream_and_a_call_with_a_deadline_get_no_other(served: Serving, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rpc.methods._DEADLINE_S", 0.01)
    monkeypatch.setattr("control.rpc.methods._DEADLINES_S", {})
    release = asyncio.Event()

    async def late() -> list[Gap]:
        await asyncio.wait_for(release.wait(), 20)
        return []

    served.read_gaps = late
    watch = ControlServiceStub(channel).WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata())
    call = GapsServiceStub(channel).ListGaps.future(gaps_pb2.ListGapsRequest(), metadata=served.metadata(), timeout=60)
    first = next(watch).pipeline.version
    # A call that begins later, of the other kind, has met the default meanwhile.
    with pytest.raises(grpc.RpcError, match=r"no answer within 0\.01 s"):
        GapsServiceStub(channel).ListGaps(gaps_pb2.ListGapsRequest(), metadata=served.metadata())
    served.loop.call_soon_threadsafe(release.set)
    assert call.result(60).total == 0
    with served.client() as client:
        client.start("page")
    assert next(watch).pipeline.version > first
    watch.cancel()
