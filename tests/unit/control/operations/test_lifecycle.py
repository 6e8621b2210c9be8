"""Operations through the real gRPC server and client; the test controls the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from control.operations.file_store import OperationFile
from control.operations.lifecycle import cancelled, cancelling, created, failed, interrupted, progressed, resumed, running, succeeded
from control.operations.manager import OperationManager
from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.errors import BadPayload, ControlRefused, OperationBusy, UnknownOperation
from cryptoviz.operations import (
    Arguments,
    BackfillArguments,
    MaintenanceArguments,
    OperationKind,
    OperationResult,
    OperationState,
    OperationStatus,
    Progress,
    ReplayArguments,
    ReplayDeadLettersArguments,
    VerifyArguments,
)
from cryptoviz.rpc.convert_operations import arguments_from_proto, arguments_to_proto, operation_from_proto, operation_to_proto
from cryptoviz.settings import load_settings
from tests.support.control_server import Serving
from tests.support.operation_fakes import FakeOperationRunner, FakeWork, MemoryOperations
from tests.support.waiting import eventually

START_MS = 1_767_225_600_000
ALL = BackfillArguments(assets=("bitcoin", "ETH"), start_ms=START_MS, end_ms=START_MS + 60_000, provider="coingecko")


@pytest.fixture
def client(served: Serving) -> Iterator[ControlClient]:
    with served.client() as client:
        yield client


def work_of(served: Serving, operation_id: str, attempt: int = 1) -> FakeWork:
    runner = served.operations
    eventually(lambda: runner.starts.count(operation_id) == attempt and runner.works[operation_id].report is not None)
    return runner.works[operation_id]


def finish(served: Serving, operation_id: str, outcome: OperationResult | BaseException, attempt: int = 1) -> None:
    work = work_of(served, operation_id, attempt)
    work.outcome = outcome
    served.loop.call_soon_threadsafe(work.finish.set)


@pytest.mark.parametrize(
    "arguments",
    [
        ALL,
        BackfillArguments(),
        ReplayArguments(start_ms=START_MS, end_ms=START_MS + 1),
        MaintenanceArguments(tables=("prices",)),
        ReplayDeadLettersArguments(reasons=("not_json",), start_ms=START_MS),
        VerifyArguments(),
    ],
)
def test_messages_keep_everything(arguments: Arguments) -> None:
    assert arguments_from_proto(arguments_to_proto(arguments)) == arguments
    status = created("a-1", arguments, START_MS)
    full = progressed(running(status), Progress(done=3, total=9, unit="ticks", message="asking kraken"))
    assert operation_from_proto(operation_to_proto(full)) == full
    assert OperationStatus.model_validate_json(full.model_dump_json()) == full


def test_a_life(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(ALL)
    assert begun.arguments == ALL
    assert not begun.over
    changes = client.operations.watch(begun.id, timeout_s=120)
    report = work_of(served, begun.id).report
    assert report is not None
    report(Progress(done=4, total=10, unit="ticks", message="asking binance"))
    seen = next(one for one in changes if one.progress.done == 4)
    assert (seen.state, seen.progress.total, seen.message) == (OperationState.RUNNING, 10, "asking binance")
    finish(served, begun.id, OperationResult(message="10 ticks", figures={"rows": 10}, notes=("kraken has no VET",)))
    last = list(changes)[-1]
    assert (last.state, last.message, last.figures, last.notes) == (OperationState.SUCCEEDED, "10 ticks", {"rows": 10.0}, ("kraken has no VET",))
    assert last.ended_ms is not None
    assert client.operations.list() == [client.operations.get(begun.id)]
    assert client.operations.start(ALL, begun.id) == last  # repeating the call is a no-op
    assert served.operations.starts == [begun.id]


def test_one_of_a_kind_at_a_time(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(ALL)
    assert client.operations.start(ALL, begun.id).id == begun.id
    with pytest.raises(OperationBusy, match=begun.id) as busy:
        client.operations.start(BackfillArguments())
    assert busy.value.operation == begun.id
    other = client.operations.start(MaintenanceArguments())
    assert {one.id for one in client.operations.list()} == {begun.id, other.id}
    finish(served, begun.id, OperationResult(message="done"))
    assert client.operations.wait(begun.id, 120).state is OperationState.SUCCEEDED
    assert client.operations.start(BackfillArguments()).id != begun.id


def test_cancel_then_resume(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(ALL)
    work_of(served, begun.id)
    assert client.operations.cancel(begun.id).state in (OperationState.CANCELLING, OperationState.CANCELLED)
    ended = client.operations.wait(begun.id, 120)
    assert ended.state is OperationState.CANCELLED
    assert client.operations.cancel(begun.id) == ended
    again = client.operations.resume(begun.id)
    assert (again.id, again.attempt, again.over) == (begun.id, 2, False)
    finish(served, begun.id, OperationResult(message="done"), attempt=2)
    assert client.operations.wait(begun.id, 120).attempt == 2


def test_what_fails_says_why(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(ALL)
    finish(served, begun.id, BadPayload("no candles in it", provider="kraken"))
    ended = client.operations.wait(begun.id, 120)
    assert (ended.state, ended.message) == (OperationState.FAILED, "no candles in it")
    again = client.operations.resume(begun.id)
    finish(served, again.id, ZeroDivisionError("by zero"), attempt=2)
    assert client.operations.wait(begun.id, 120).message.startswith("ZeroDivisionError: by zero")


def test_a_lost_process_is_reported_and_can_be_resumed(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(ALL)
    work_of(served, begun.id)
    served.loop.call_soon_threadsafe(served.operations.kill, begun.id)
    ended = client.operations.wait(begun.id, 120)
    assert ended.state is OperationState.INTERRUPTED
    assert client.operations.resume(begun.id).attempt == 2


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (BackfillArguments(assets=("nothing",)), "arguments.backfill.assets"),
        (BackfillArguments(provider="nobody"), "arguments.backfill.provider"),
        (BackfillArguments(end_ms=4_102_444_800_000), "arguments.backfill.end: is in the future"),
        (BackfillArguments(start_ms=START_MS, end_ms=START_MS), "arguments.backfill.end: is not after start"),
        (ReplayArguments(start_ms=0, end_ms=START_MS), "arguments.replay.start: is before 2009"),
    ],
)
def test_arguments_that_cannot_be_meant(client: ControlClient, arguments: Arguments, field: str) -> None:
    with pytest.raises(ControlRefused, match=field) as caught:
        client.operations.start(arguments)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_other_refusals(served: Serving, client: ControlClient) -> None:
    with pytest.raises(UnknownOperation):
        client.operations.get("nothing")
    with pytest.raises(UnknownOperation):
        next(client.operations.watch("nothing"))
    with pytest.raises(ControlRefused, match="operation_id"):
        client.operations.start(ALL, "../../etc")
    begun = client.operations.start(ALL)
    with pytest.raises(ControlRefused, match="other arguments"):
        client.operations.start(BackfillArguments(), begun.id)
    served.operations.down = "kafka, which is STOPPED"
    with pytest.raises(ControlRefused, match="needs kafka, which is STOPPED") as caught:
        client.operations.start(MaintenanceArguments())
    assert caught.value.code == "FAILED_PRECONDITION"
    with grpc.insecure_channel(served.address) as channel:
        start: grpc.UnaryUnaryMultiCallable[pb.StartOperationRequest, bytes] = channel.unary_unary(
            "/cryptoviz.control.v1.OperationsService/StartOperation", pb.StartOperationRequest.SerializeToString
        )
        with pytest.raises(grpc.RpcError) as refused:
            start(pb.StartOperationRequest(), metadata=served.metadata(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as refused:
            start(pb.StartOperationRequest(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_new_controller_follows_a_running_operation(tmp_path: Path) -> None:
    settings = load_settings("live", home=tmp_path)
    runner, store = FakeOperationRunner(settings), OperationFile(tmp_path / "control" / "operations.json")
    first = OperationManager(runner, store, settings, SystemClock(), lambda _: "")
    kept = await first.start("kept", ALL)
    await first.start("lost", MaintenanceArguments())
    while len(runner.hosts) < 2 or first.get("lost").state is OperationState.PENDING:
        await first.changed_since("lost", first.get("lost").version)
    await first.close()
    del runner.hosts["lost"]

    second = OperationManager(runner, store, settings, SystemClock(), lambda _: "")
    await second.open()
    lost = await second.changed_since("lost", second.get("lost").version)
    assert lost.state is OperationState.INTERRUPTED
    runner.works["kept"].finish.set()
    status = second.get(kept.id)
    while not status.over:
        status = await second.changed_since(kept.id, status.version)
    assert status.state is OperationState.SUCCEEDED
    assert {one.id: one.state for one in await store.load()} == {"kept": OperationState.SUCCEEDED, "lost": OperationState.INTERRUPTED}
    await second.close()


async def test_a_shutdown_interrupts(tmp_path: Path) -> None:
    settings = load_settings("live", home=tmp_path)
    runner = FakeOperationRunner(settings)
    manager = OperationManager(runner, MemoryOperations(), settings, SystemClock(), lambda _: "")
    await manager.start("one", ALL)
    await manager.drain()
    assert manager.get("one").state is OperationState.INTERRUPTED
    with pytest.raises(ControlRefused, match="shutting down"):
        await manager.start("two", ALL)


def test_what_has_ended_changes_by_a_resume_only() -> None:
    status = running(created("one", ALL, START_MS))
    result = OperationResult(message="done")
    for ended in (succeeded(status, result, 1), failed(status, "no", 1), cancelled(status, 1), interrupted(status, "gone", 1)):
        for change in (
            cancelling(ended),
            succeeded(ended, result, 2),
            failed(ended, "x", 2),
            cancelled(ended, 2),
            interrupted(ended, "x", 2),
            progressed(ended, Progress(done=9)),
            running(ended),
        ):
            assert change == ended
        if ended.state is OperationState.SUCCEEDED:
            assert resumed(ended) == ended
        else:
            assert (resumed(ended).state, resumed(ended).attempt, resumed(ended).ended_ms) == (OperationState.PENDING, 2, None)
    assert interrupted(cancelling(status), "gone", 1).state is OperationState.CANCELLED
    assert status.kind is OperationKind.BACKFILL
