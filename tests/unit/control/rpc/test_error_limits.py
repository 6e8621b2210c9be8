"""Errors that do not fit the wire, over a real server and client: each call ends in a status, at once, and says no more than it should."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.errors import ControlRefused, CryptoVizError, EngineUnavailable, InvalidRequest, OperationBusy, UnknownComponent
from cryptoviz.masking import MASK, hide
from cryptoviz.rpc.channel import CHANNEL_OPTIONS, STATUS_DETAILS
from tests.support.control_server import Serving, serving
from tests.support.waiting import eventually

Raising = Callable[[BaseException], CryptoVizError]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as here:
        yield here


@pytest.fixture
def raising(served: Serving, monkeypatch: pytest.MonkeyPatch) -> Raising:
    """What a client gets from a unary method and, if it differs, from a stream that raise an error. Without a status both would end by deadline."""

    def arrived(error: BaseException) -> CryptoVizError:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(served.reconciler, "component", fails)
        monkeypatch.setattr(served.reconciler, "changed_since", fails)
        with served.client(timeout_s=60) as client:
            with pytest.raises(CryptoVizError) as of_call:
                client.get("page")
            with pytest.raises(CryptoVizError) as of_stream:
                next(client.watch(timeout_s=60))
        assert type(of_call.value) is type(of_stream.value)
        return of_call.value

    return arrived


@pytest.mark.parametrize(
    "error",
    [
        ControlRefused("no code"),
        ControlRefused("secret of the server", code="TEAPOT"),
        ControlRefused("secret of the server", code="OK"),
        asyncio.CancelledError("something else was cancelled"),
        ExceptionGroup("secret of the server", [EngineUnavailable("no")]),
        KeyError("/home/secret of the server"),
        StopAsyncIteration("secret of the server"),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'code', '')}".strip(),
)
def test_an_error_without_a_status_is_internal_and_reveals_nothing(raising: Raising, error: BaseException) -> None:
    found = raising(error)
    assert isinstance(found, ControlRefused)
    assert found.code == "INTERNAL"
    assert found.message.startswith("INTERNAL: internal error ")
    assert found.message.endswith("; see the controller's log")
    assert len(found.message) == len("INTERNAL: internal error 0123456789ab; see the controller's log")


def test_a_call_that_the_client_cancels_is_no_error_of_the_server(served: Serving, lines: io.StringIO) -> None:
    with grpc.insecure_channel(served.address) as channel:
        call = ControlServiceStub(channel).WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata(), timeout=60)
        next(call)
        call.cancel()
        eventually(lambda: "code=CANCELLED" in lines.getvalue())
    assert "call_failed" not in lines.getvalue()


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("a\r\nb\tc\x00d\x1b[31m % %41 %zz \u00e9 \u2028 \U0001f600", "a\r\nb\tc\x00d\x1b[31m % %41 %zz \u00e9 \u2028 \U0001f600"),
        ("cut \udce9", "cut \\udce9"),  # a file name that is not UTF-8
        ("x" * 700, "x" * 700),
        ("x" * 701, "x" * 699 + "\u2026"),
        ("\U0001f600" * 175, "\U0001f600" * 175),  # 700 bytes
        ("\U0001f600" * 176, "\U0001f600" * 174 + "\u2026"),  # 704 bytes; 699 hold 174 characters of 4
    ],
)
def test_a_message_of_any_characters_arrives_up_to_its_limit_in_bytes(raising: Raising, text: str, arrives: str) -> None:
    found = raising(UnknownComponent(text, component="x"))
    assert (type(found), found.message) == (UnknownComponent, arrives)
    refused = raising(ControlRefused(text, code="FAILED_PRECONDITION"))
    assert (type(refused), refused.message) == (ControlRefused, f"FAILED_PRECONDITION: {arrives}")


def test_attributes_of_any_length_and_kind_do_not_lose_the_error(raising: Raising) -> None:
    found = raising(EngineUnavailable("away", engine=None, address="\U0001f600" * 9000))  # type: ignore[arg-type]
    assert isinstance(found, EngineUnavailable)
    # 499 bytes hold 124 characters of 4.
    assert (found.message, found.engine, found.address) == ("away", "None", "\U0001f600" * 124 + "\u2026")
    busy = raising(OperationBusy("busy", operation="\udce9\n"))
    assert isinstance(busy, OperationBusy)
    assert busy.operation == "\\udce9\n"


def test_the_longest_status_is_accepted_each_time(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 8 KiB, gRPC drops a status with a probability that grows with its size, so that one call would not show it."""

    def fails(*_: object) -> None:
        raise InvalidRequest.of(*(("\u20ac" * 100, "\u20ac" * 501) for _ in range(9)))

    monkeypatch.setattr(served.reconciler, "component", fails)
    with grpc.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel:
        stub = ControlServiceStub(channel)
        for _ in range(100):
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetComponent(pb.GetComponentRequest(name="page"), metadata=served.metadata(), timeout=60)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailing: Any = refused.value.trailing_metadata()  # pairs; the stubs declare a single pair
    (sent,) = (value for key, value in trailing if key == STATUS_DETAILS)
    status, bad = status_pb2.Status.FromString(sent), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    # 99 bytes hold 33 characters of 3, 499 hold 166.
    assert [(one.field, one.description) for one in bad.field_violations] == [("\u20ac" * 33 + "\u2026", "\u20ac" * 166 + "\u2026")] * 8
    assert status.message == refused.value.details()
    assert len(status.message.encode()) <= 702


def test_an_invalid_request_without_violations_keeps_its_type_and_message(raising: Raising) -> None:
    found = raising(InvalidRequest("no such time"))
    assert isinstance(found, InvalidRequest)
    assert (found.message, found.code, list(found.violations)) == ("INVALID_ARGUMENT: no such time", "INVALID_ARGUMENT", [])


def test_a_secret_that_became_known_after_the_error_was_made_is_not_sent(raising: Raising) -> None:
    errors: list[CryptoVizError] = [
        EngineUnavailable("no canary-of-the-wire", address="canary-of-the-wire"), InvalidRequest.of(("name", "is canary-of-the-wire")),
    ]  # fmt: skip
    hide(["canary-of-the-wire"])
    away, invalid = (raising(error) for error in errors)
    assert isinstance(away, EngineUnavailable)
    assert isinstance(invalid, InvalidRequest)
    assert (away.message, away.address, invalid.violations) == (f"no {MASK}", MASK, [("name", f"is {MASK}")])


def test_an_error_after_the_first_response_of_a_stream_arrives_as_one_before_it(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    first = served.reconciler.changed_since
    calls: list[int] = []

    async def fails_later(version: int) -> object:
        calls.append(version)
        if len(calls) == 2:
            raise EngineUnavailable("away", engine="kafka", address="\u00fc:9092")
        return await first(0)

    monkeypatch.setattr(served.reconciler, "changed_since", fails_later)
    with served.client() as client:
        watch = client.watch(timeout_s=60)
        assert len(next(watch).components) == 4
        with pytest.raises(EngineUnavailable) as away:
            next(watch)
    assert (away.value.message, away.value.engine, away.value.address) == ("away", "kafka", "\u00fc:9092")
