"""A client and a control service of another version, or one that is none: each response is either understood or a typed error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cryptoviz.client import ControlClient
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1 import gaps_pb2, operations_pb2, providers_pb2
from cryptoviz.errors import ControlRefused, CryptoVizError, EngineUnavailable, SettingsError
from cryptoviz.rpc.channel import STATUS_DETAILS
from tests.support.ports import free_port

Reply = Callable[[grpc.ServicerContext], bytes]


class Foreign(grpc.GenericRpcHandler):
    """Sends `reply` to each call."""

    reply: Reply

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self.reply(context))


@pytest.fixture(scope="module")
def foreign() -> Iterator[tuple[Foreign, str]]:
    server, handler, address = grpc.server(futures.ThreadPoolExecutor(2)), Foreign(), f"127.0.0.1:{free_port()}"
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(address)
    server.start()
    yield handler, address
    server.stop(0).wait(60)


def refusing(code: grpc.StatusCode, details: bytes) -> Reply:
    def reply(context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata(((STATUS_DETAILS, details),))
        context.abort(code, "as the server says")

    return reply


def details(*found: Message) -> bytes:
    packed = [any_pb2.Any() for _ in found]
    for one, message in zip(packed, found, strict=True):
        one.Pack(message)
    return bytes(status_pb2.Status(details=packed).SerializeToString())


def info(reason: str, domain: str = "cryptoviz", **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


BROKEN = status_pb2.Status(details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")]).SerializeToString()
NOT_FOUND = (ControlRefused, "NOT_FOUND: as the server says", {"code": "NOT_FOUND"})


@pytest.mark.parametrize(
    ("code", "sent", "expected"),
    [
        ("NOT_FOUND", b"\xff\xff\xff", NOT_FOUND),
        ("NOT_FOUND", BROKEN, NOT_FOUND),
        ("NOT_FOUND", details(info("UNKNOWN_COMPONENT", "example.com", component="x")), NOT_FOUND),
        ("NOT_FOUND", details(info("UNKNOWN_PLANET")), NOT_FOUND),
        ("NOT_FOUND", details(pb.Component(name="x")), NOT_FOUND),
        ("UNAVAILABLE", details(info("ENGINE_UNAVAILABLE")), (EngineUnavailable, "as the server says", {"engine": "", "address": ""})),
        (
            "UNAVAILABLE",
            details(info("NEW_REASON"), info("ENGINE_UNAVAILABLE", engine="kafka", message="forged", code="forged")),
            (EngineUnavailable, "as the server says", {"engine": "kafka", "address": ""}),
        ),
    ],
    ids=["no status", "broken detail", "another domain", "a newer reason", "another detail", "without attributes", "more attributes"],
)
def test_foreign_details_are_ignored(foreign: tuple[Foreign, str], code: str, sent: bytes, expected: Any) -> None:
    handler, address = foreign
    handler.reply = refusing(grpc.StatusCode[code], sent)
    with ControlClient(address, token="x", timeout_s=60) as client, pytest.raises(CryptoVizError) as failed:
        client.get("page")
    kind, message, facts = expected
    assert (type(failed.value), failed.value.message) == (kind, message)
    assert {name: getattr(failed.value, name) for name in facts} == facts


KNOWN = {"kind": 1, "desired": 1, "state": 1}
CALLS: list[tuple[str, Message, Callable[[ControlClient], object]]] = [
    ("ComponentKind 99", pb.GetComponentResponse(component=pb.Component(**KNOWN | {"kind": 99})), lambda client: client.get("x")),  # type: ignore[arg-type]
    ("DesiredState 99", pb.GetComponentResponse(component=pb.Component(**KNOWN | {"desired": 99})), lambda client: client.get("x")),  # type: ignore[arg-type]
    ("ComponentState 0", pb.ListComponentsResponse(), lambda client: client.list()),
    ("ComponentState 77", pb.GetProviderResponse(provider=pb.Provider(state=77)), lambda client: client.provider("x")),  # type: ignore[arg-type]
    (
        "BreakerState 9",
        pb.GetProviderResponse(provider=pb.Provider(state=1, scraper=providers_pb2.ScraperStatus(breaker=providers_pb2.Breaker(state=9)))),  # type: ignore[arg-type]
        lambda client: client.provider("x"),
    ),
    (
        "the fault 'eclipsed' of an id",
        pb.GetProviderResponse(
            provider=pb.Provider(
                state=1,  # type: ignore[arg-type]
                scraper=providers_pb2.ScraperStatus(
                    breaker=providers_pb2.Breaker(state=1),  # type: ignore[arg-type]
                    ids=providers_pb2.Ids(problems=[providers_pb2.IdProblem(fault="eclipsed")]),
                ),
            )
        ),
        lambda client: client.provider("x"),
    ),
    ("GapScope 9", gaps_pb2.ListGapsResponse(gaps=[gaps_pb2.Gap(scope=9)], total=1), lambda client: client.gaps()),  # type: ignore[arg-type]
    (
        "the arguments of operation 'o-1'",
        operations_pb2.GetOperationResponse(operation=operations_pb2.Operation(id="o-1", state=1)),  # type: ignore[arg-type]
        lambda client: client.operations.get("o-1"),
    ),
]


@pytest.mark.parametrize(("unknown", "response", "call"), CALLS, ids=[unknown for unknown, _, _ in CALLS])
def test_a_value_of_a_later_version_is_a_typed_error(
    foreign: tuple[Foreign, str], unknown: str, response: Message, call: Callable[[ControlClient], object]
) -> None:
    handler, address = foreign
    handler.reply = lambda _: response.SerializeToString()
    with ControlClient(address, token="x", timeout_s=60) as client, pytest.raises(ControlRefused) as refused:
        call(client)
    assert refused.value.code == "UNIMPLEMENTED"
    assert refused.value.message == f"the control service sent {unknown}, which this version does not know; use a client of its version"


def test_a_response_that_is_no_message_is_a_typed_error(foreign: tuple[Foreign, str]) -> None:
    handler, address = foreign
    handler.reply = lambda _: b"\xff\xff"
    with ControlClient(address, token="x", timeout_s=60) as client, pytest.raises(ControlRefused) as refused:
        client.get("x")
    assert refused.value.code == "INTERNAL"


@pytest.mark.parametrize("token", ["a\nb", "\u00e9", "\x00", "\udce9"])
def test_a_token_that_no_header_can_carry_is_a_settings_error(tmp_path: Path, token: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with ControlClient(address, token=token) as client, pytest.raises(SettingsError, match="characters that no token has"):
        client.get("page")
    (tmp_path / "token").write_bytes(token.encode("utf-8", "surrogateescape"))
    with ControlClient(address, token_file=tmp_path / "token") as client, pytest.raises(SettingsError, match="token") as refused:
        client.get("page")
    assert refused.value.setting == "CRYPTOVIZ_HOME"


def test_certificates_that_cannot_be_read_are_a_settings_error(tmp_path: Path) -> None:
    with (
        ControlClient("127.0.0.1:1", token="x", root_certificates=tmp_path / "none.pem") as client,
        pytest.raises(SettingsError, match=r"^cannot read the certificates .*none\.pem: No such file or directory$") as refused,
    ):
        client.get("page")
    assert refused.value.setting == "CRYPTOVIZ_CONTROL__TLS_CERT"
