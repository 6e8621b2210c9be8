"""The table of errors over a real server and client: an error raised in a method arrives as the same type with equal attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import grpc
import pytest

from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.errors import (
    ComponentLost,
    ControlRefused,
    CryptoVizError,
    EngineUnavailable,
    InvalidRequest,
    OperationBusy,
    UnknownComponent,
    UnknownOperation,
)
from cryptoviz.rpc.error_map import BY_INFO
from tests.support.control_server import Serving, serving

SENT: list[tuple[CryptoVizError, str]] = [
    (UnknownComponent("no component 'x'", component="x"), "NOT_FOUND"),
    (UnknownOperation("no operation 'o-1'", operation="o-1"), "NOT_FOUND"),
    (OperationBusy("a backfill is already running", operation="o-2"), "RESOURCE_EXHAUSTED"),
    (EngineUnavailable("the object store does not answer", engine="object-store", address="127.0.0.1:9000"), "UNAVAILABLE"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as here:
        yield here


def attributes(error: CryptoVizError) -> dict[str, Any]:
    return {each.name: getattr(error, each.name) for each in fields(error)}


def arrived(served: Serving, monkeypatch: pytest.MonkeyPatch, error: Exception) -> CryptoVizError:
    """What the client raises when a unary method and a stream raise `error`: the same from both."""

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(served.reconciler, "component", fails)
    monkeypatch.setattr(served.reconciler, "changed_since", fails)
    with served.client() as client:
        with pytest.raises(CryptoVizError) as of_call:
            client.get("page")
        with pytest.raises(CryptoVizError) as of_stream:
            next(client.watch())
    assert type(of_call.value) is type(of_stream.value)
    if not isinstance(of_call.value, ControlRefused) or of_call.value.code != "INTERNAL":  # which has an id of its own
        assert attributes(of_call.value) == attributes(of_stream.value)
    return of_call.value


@pytest.mark.parametrize(("error", "code"), SENT, ids=lambda value: type(value).__name__)
def test_a_typed_error_arrives_whole(served: Serving, monkeypatch: pytest.MonkeyPatch, error: CryptoVizError, code: str) -> None:
    found = arrived(served, monkeypatch, error)
    assert type(found) is type(error)
    assert attributes(found) == attributes(error)
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as refused:
        ControlServiceStub(channel).GetComponent(pb.GetComponentRequest(name="page"), metadata=served.metadata(), timeout=60)
    assert (refused.value.code().name, refused.value.details()) == (code, error.message)


def test_the_table_and_this_test_are_complete() -> None:
    assert list(BY_INFO) == [type(error) for error, _ in SENT]
    for kind, info in BY_INFO.items():
        assert {"message", *info.keys} == {each.name for each in fields(kind)}
    assert len({info.reason for info in BY_INFO.values()}) == len(BY_INFO)


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "NOT_FOUND"])
def test_a_refusal_keeps_its_code(served: Serving, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    found = arrived(served, monkeypatch, ControlRefused("the pipeline ends", code=code))
    assert (type(found), attributes(found)) == (ControlRefused, {"message": f"{code}: the pipeline ends", "code": code})


def test_an_invalid_request_keeps_its_violations(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    found = arrived(served, monkeypatch, InvalidRequest.of(("name", "is empty"), ("lines", "is 7")))
    assert type(found) is InvalidRequest
    assert attributes(found) == {
        "message": "INVALID_ARGUMENT: name: is empty; lines: is 7",
        "code": "INVALID_ARGUMENT",
        "violations": [("name", "is empty"), ("lines", "is 7")],
    }


def test_a_longer_list_of_violations_is_cut(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    found = arrived(served, monkeypatch, InvalidRequest.of(*((f"{number}" * 101, "d" * 501) for number in range(9))))
    assert isinstance(found, InvalidRequest)
    assert found.violations == [(f"{number}" * 99 + "…", "d" * 499 + "…") for number in range(8)]


@pytest.mark.parametrize("error", [ComponentLost("its actor is gone", component="page"), ZeroDivisionError("no")])
def test_an_error_outside_of_the_table_is_internal(served: Serving, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    found = arrived(served, monkeypatch, error)
    assert isinstance(found, ControlRefused)
    assert found.message.startswith("INTERNAL: internal error ")
