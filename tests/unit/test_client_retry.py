"""Repeated calls and reconnecting streams of both clients, with a real server that is stopped and started again on its port."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from cryptoviz import operations_client
from cryptoviz.client import AsyncControlClient, ControlClient, PipelineStatus, Retry
from cryptoviz.components import DesiredState
from cryptoviz.errors import ControlRefused, EngineUnavailable, UnknownComponent
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.operations import BackfillArguments, OperationState, OperationStatus
from cryptoviz.rpc import client_channel, requests
from cryptoviz.rpc.channel import STATUS_DETAILS
from cryptoviz.rpc.retry import Attempts
from cryptoviz.settings import Settings, load_settings
from cryptoviz.telemetry.log_files import log_path
from tests.support.clock import FakeClock
from tests.support.control_fakes import small_table
from tests.support.control_server import Serving, serving_settings
from tests.support.ports import free_port
from tests.support.waiting import eventually

GAP = Gap(GapScope.ASSET, "bitcoin", 1_767_225_600_000, 1_767_225_660_000, 60_000, 2, "timeout", 1_767_225_700_000)
QUICK = Retry(first_s=0.05, most_s=0.2)


class Failed(grpc.RpcError):
    """A failed call."""

    def __init__(self, code: grpc.StatusCode, details: bytes = b"") -> None:
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "as gRPC says"

    def trailing_metadata(self) -> Any:
        return ((STATUS_DETAILS, self._details),) if self._details else ()


AWAY = Failed(grpc.StatusCode.UNAVAILABLE)
LATE = Failed(grpc.StatusCode.DEADLINE_EXCEEDED)


def attempts(clock: FakeClock, retry: Retry | None = Retry(), timeout_s: float | None = None, **more: Any) -> Attempts:  # noqa: B008
    return Attempts("here:1", retry, timeout_s, clock=clock.monotonic_s, **({"uniform": lambda: 1.0} | more))


def waits(**arguments: Any) -> list[float]:
    """Of attempts that fail at once, until the error is raised."""
    clock = FakeClock()
    of, found = attempts(clock, **arguments), [0.0]
    with suppress(EngineUnavailable):
        while True:
            of.begin()
            found.append(of.wait_s(AWAY))
            clock.advance(found[-1])
    return found[1:]


def test_waits_double_up_to_their_limit_and_fit_the_deadline() -> None:
    # 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2 = 5.1 s, and a further 2 s would end after 7 s
    assert waits(timeout_s=7.0) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert waits(timeout_s=1.0, uniform=lambda: 0.0) == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert waits(retry=Retry(reconnect_s=0.5), stream=True) == pytest.approx([0.1, 0.2])


def test_each_attempt_has_what_is_left_of_the_deadline() -> None:
    clock = FakeClock()
    call = attempts(clock, timeout_s=5.0)
    assert call.begin() == 5.0
    clock.advance(2.0)
    call.wait_s(AWAY)
    clock.advance(0.5)
    assert call.begin() == pytest.approx(2.5)
    assert attempts(clock, None).begin() is None
    assert attempts(clock, None, stream=True).begin() is None


def test_only_a_service_that_does_not_answer_is_called_again() -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="ENGINE_UNAVAILABLE", domain="cryptoviz", metadata={"engine": "object-store"}))
    engine = Failed(grpc.StatusCode.UNAVAILABLE, status_pb2.Status(details=[detail]).SerializeToString())
    clock = FakeClock()
    for error, kind in ((engine, EngineUnavailable), (LATE, EngineUnavailable), (Failed(grpc.StatusCode.INTERNAL), ControlRefused)):
        with pytest.raises(kind):
            attempts(clock, timeout_s=5.0).wait_s(error)
    for refused in (attempts(clock, None, 5.0), attempts(clock, Retry(only_while=lambda: False), 5.0)):
        with pytest.raises(EngineUnavailable, match="does not answer"):
            refused.wait_s(AWAY)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        attempts(clock, timeout_s=5.0).wait_s(AWAY, repeatable=False)


def test_a_stream_is_renewed_and_an_outage_after_silence_is_a_new_one() -> None:
    clock = FakeClock()
    stream = attempts(clock, stream=True)
    assert stream.begin() == 600.0
    clock.advance(600.0)
    assert stream.wait_s(LATE) == 0.0
    stream.begin()
    assert stream.wait_s(AWAY) == 0.1
    clock.advance(0.1)
    stream.begin()
    clock.advance(31.0)  # connected, without a response
    assert stream.wait_s(AWAY) == 0.1
    ending = attempts(clock, timeout_s=20.0, stream=True)
    assert ending.begin() == 20.0
    clock.advance(20.0)
    with pytest.raises(EngineUnavailable, match="DEADLINE_EXCEEDED"):
        ending.wait_s(LATE)


Serve = Callable[..., AbstractContextManager[Serving]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("live", home=tmp_path, control={"port": free_port()})


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """Start a server; each time of the same pipeline, on the same port."""

    def start(operations: Iterable[OperationStatus] = ()) -> AbstractContextManager[Serving]:
        return serving_settings(settings, small_table(), 20, operations)

    return start


def test_a_watch_resumes_after_a_restart_of_the_service(settings: Settings, serve: Serve) -> None:
    with ControlClient.from_settings(settings, retry=QUICK) as client:
        with serve():
            watch = client.watch(timeout_s=60)
            seen = [next(watch)]
        with serve():
            seen.append(next(watch))
            client.start("engine")
            seen.append(next(watch))
    versions = [one.version for one in seen]
    assert versions == sorted(set(versions))
    assert seen[2].component("engine") is not None


async def test_an_async_watch_resumes_after_a_restart_of_the_service(settings: Settings, serve: Serve) -> None:
    async with AsyncControlClient.from_settings(settings, retry=QUICK) as client:
        watch = client.watch(timeout_s=60)
        with serve():
            first = await anext(watch)
        again = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        with serve():
            second = await again
            assert (await client.start("engine")).desired is DesiredState.RUNNING
            assert await anext(watch)
        await watch.aclose()
    assert second.version > first.version


def held(serving: Serving) -> threading.Event:
    """From now on the server answers no gap ledger; set when a call waits for it."""
    called = threading.Event()

    async def never() -> list[Gap]:
        called.set()
        await asyncio.Event().wait()
        return []

    serving.read_gaps = never
    return called


def test_a_call_is_repeated_after_a_restart_of_the_service(settings: Settings, serve: Serve) -> None:
    with ControlClient.from_settings(settings, retry=QUICK) as client, ThreadPoolExecutor() as pool:
        with serve() as first:
            called = held(first)
            answer = pool.submit(client.gaps)
            assert called.wait(120)
        with serve() as second:
            second.gaps = [GAP]
            assert answer.result(120) == [GAP]


async def test_an_async_call_is_repeated_after_a_restart_of_the_service(settings: Settings, serve: Serve) -> None:
    async with AsyncControlClient.from_settings(settings, retry=QUICK) as client:
        with serve() as first:
            called = held(first)
            answer = asyncio.create_task(client.gaps())
            assert await asyncio.to_thread(called.wait, 20)
        with serve() as second:
            second.gaps = [GAP]
            assert await answer == [GAP]


def test_a_call_is_repeated_only_if_it_may_be(settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with ControlClient.from_settings(settings, retry=QUICK) as client, serve() as here:
        reads: list[int] = []

        async def down() -> list[Gap]:
            reads.append(1)
            raise EngineUnavailable("the object store does not answer", engine="object-store", address="here")

        here.read_gaps = down
        with pytest.raises(EngineUnavailable, match="the object store does not answer"):
            client.gaps()
        assert reads == [1]
    rpc = requests.list_components()
    slept: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: slept.append(timeout))
    once = client_channel.Rpc(rpc.stub, rpc.method, rpc.request, rpc.read, idempotent=False)
    channel = ControlClient(settings.control.address, token="x")._channel
    with pytest.raises(EngineUnavailable, match="does not answer"):
        channel.call(once)
    assert slept == []
    channel.close()


def test_a_followed_log_misses_and_repeats_no_line_over_a_restart(settings: Settings, serve: Serve) -> None:
    path = log_path(settings, "engine")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{number}\n" for number in range(250)))
    with ControlClient.from_settings(settings, retry=QUICK) as client:
        with serve():
            lines = client.tail_logs("engine", 250, follow=True, timeout_s=60)
            assert [next(lines) for _ in range(250)] == [str(number) for number in range(250)]
        with path.open("a") as file:
            file.write("250\n250\n")
        with serve():
            assert [next(lines), next(lines)] == ["250", "250"]
            with path.open("a") as file:
                file.write("251\n")
            assert next(lines) == "251"
        lines.close()


def test_a_watched_operation_resumes_and_ends(settings: Settings, serve: Serve) -> None:
    with ControlClient.from_settings(settings, retry=QUICK) as client:
        with serve() as first:
            begun = client.operations.start(BackfillArguments())
            watch = client.operations.watch(begun.id, timeout_s=60)
            assert not next(watch).over
            saved = first.manager.all()
        with serve(saved):
            assert list(watch)[-1].state is OperationState.INTERRUPTED
            # Its last version again: the end is sent, not waited for.
            last = client.operations.get(begun.id)
            assert list(client.operations.watch(begun.id, last.version, timeout_s=120)) == [last]


def test_a_stream_gives_up_when_the_service_stays_away(settings: Settings, serve: Serve) -> None:
    asked = itertools.count(1)
    brief = Retry(first_s=0.05, reconnect_s=0.3, only_while=lambda: bool(next(asked)))
    with ControlClient.from_settings(settings, retry=brief) as client:
        with serve():
            watch = client.watch()
            next(watch)
        with pytest.raises(EngineUnavailable, match="does not answer"):
            next(watch)
    assert next(asked) > 2


def test_closing_the_client_ends_a_reconnecting_watch(settings: Settings, serve: Serve) -> None:
    waiting = threading.Event()

    def begins() -> bool:
        waiting.set()
        return True

    patient = Retry(first_s=60.0, most_s=60.0, reconnect_s=600.0, only_while=begins)
    with ControlClient.from_settings(settings, retry=patient) as client, ThreadPoolExecutor() as pool:
        with serve():
            watch = client.watch()
            next(watch)
        ended = pool.submit(next, watch)
        assert waiting.wait(120)
        client.close()
        with pytest.raises(ControlRefused, match="the client was closed during the call"):
            ended.result(120)


async def test_closing_the_async_client_ends_its_calls(settings: Settings, serve: Serve) -> None:
    waiting = asyncio.Event()

    def begins() -> bool:
        waiting.set()
        return True

    patient = Retry(first_s=60.0, most_s=60.0, reconnect_s=600.0, only_while=begins)
    client = AsyncControlClient.from_settings(settings, retry=patient)
    with serve() as here:
        called = held(here)
        call, watch = asyncio.create_task(client.gaps()), client.watch()
        assert await anext(watch)
        assert await asyncio.to_thread(called.wait, 20)
        await client.close()
        with pytest.raises(ControlRefused, match="closed during the call"):
            await call
        await watch.aclose()
        watch = client.watch()
        assert await anext(watch)
    again = asyncio.create_task(anext(watch))
    await waiting.wait()
    await client.close()
    with pytest.raises(ControlRefused, match="closed during the call"):
        await again


async def test_the_async_verbs(settings: Settings, serve: Serve) -> None:
    with serve() as here:
        async with AsyncControlClient.from_settings(settings) as client:
            assert client.address == settings.control.address
            assert [one.name for one in (await client.list()).components] == ["engine", "worker", "reader/one", "page"]
            await client.start_pipeline()
            await client.wait(20, lambda now: now.reason == "all components run")
            assert (await client.stop("reader/one")).desired is DesiredState.STOPPED
            assert (await client.restart("page")).name == "page"
            with pytest.raises(UnknownComponent, match="valid: engine"):
                await client.get("zookeeper")
            assert [line async for line in client.tail_logs("worker")] == []
            assert (await client.provider("kraken")).name in [one.name for one in await client.providers()]
            for refused in (client.trip_breaker("kraken", "why"), client.reset_breaker("kraken")):
                with pytest.raises(ControlRefused, match="FAILED_PRECONDITION: the scraper of kraken does not answer"):
                    await refused
            with pytest.raises(ControlRefused, match="INVALID_ARGUMENT: name"):
                await client.provider("../x")
            begun = await client.operations.start(BackfillArguments())
            assert await client.operations.list() == [await client.operations.get(begun.id)]
            await client.operations.cancel(begun.id)
            ended = await client.operations.wait(begun.id, 120)
            assert ended.state is OperationState.CANCELLED
            assert (await client.operations.resume(begun.id)).attempt == 2
            await client.stop_pipeline()
            assert (await client.wait_stopped(120)).state == "STOPPED"
            await client.shutdown()
            eventually(lambda: here.shutdowns == ["asked"])


@pytest.mark.parametrize(("blocking", "awaited"), [
    (ControlClient, AsyncControlClient), (operations_client.OperationsClient, operations_client.AsyncOperationsClient)
])  # fmt: skip
def test_both_clients_have_the_same_methods(blocking: type, awaited: type) -> None:
    names = {name for name in vars(blocking) if not name.startswith("_")}
    assert names == {name for name in vars(awaited) if not name.startswith("_")}
    for name in names - {"operations"}:
        one, other = getattr(blocking, name), getattr(awaited, name)
        assert inspect.signature(one).parameters == inspect.signature(other).parameters
        assert one.__doc__, name
        returned = str(inspect.signature(one).return_annotation)
        assert inspect.iscoroutinefunction(other) != returned.startswith("Generator[")
        assert inspect.signature(other).return_annotation == returned.replace("Generator[", "AsyncGenerator[").replace(", None, None]", ", None]")


def test_a_status_is_what_a_watch_yields(settings: Settings, serve: Serve) -> None:
    with serve(), ControlClient.from_settings(settings) as client:
        status = next(client.watch())
        assert isinstance(status, PipelineStatus)
        assert status.components == client.list().components
