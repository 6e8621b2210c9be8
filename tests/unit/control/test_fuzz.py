"""Every method of the server, by its descriptors, with random bytes and messages, without a token and with one of each role.

Only specific codes, and the server keeps running.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.rpc.admission import RefusalPacer
from control.rpc.methods import ROLES, SERVICES, only_reads
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.rpc.pipeline_status import pipeline_id
from cryptoviz.security.tokens import Role, TokenFile, new_token
from tests.support.control_server import Serving, serving

CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
WHO = ("nobody", "stranger", *Role)
"""Without a token, with a wrong one, and with one of each role."""
POOL = descriptor_pool.Default()
METHODS = [method for service in SERVICES for method in POOL.FindServiceByName(service).methods]
BY_NAME = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
MAX_METADATA = 4_000
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as here:
        assert here.server is not None
        here.server.token_check.pacer = RefusalPacer(per_s=1e6)
        yield here


@pytest.fixture(scope="module")
def tokens(served: Serving) -> dict[str, str]:
    """A token of each role, and a wrong one."""
    return {"stranger": new_token(), **{role: TokenFile(served.settings.home).add(f"of-{role}", role, 1) for role in Role}}


@pytest.fixture(scope="module")
def channel(served: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address) as channel:
        yield channel


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


def codes_of(who: str, method: MethodDescriptor) -> set[grpc.StatusCode]:
    """The codes of any call of a method."""
    if who not in list(Role):
        return {grpc.StatusCode.UNAUTHENTICATED}
    return CODES if Role(who).permits(ROLES[path_of(method)]) else {grpc.StatusCode.PERMISSION_DENIED}


def ask(
    served: Serving,
    channel: grpc.Channel,
    method: MethodDescriptor,
    *payloads: bytes,
    metadata: tuple[tuple[str, str], ...] | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.StatusCode:
    """The call's final code; OK for a stream that has answered, or that stays silent for a moment. Without `metadata`: of the owner."""
    streaming, metadata = method.server_streaming, served.metadata() if metadata is None else metadata
    request: Any = iter(payloads) if method.client_streaming or len(payloads) != 1 else payloads[0]
    kinds: dict[tuple[bool, bool], Callable[[str], Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = kinds[not isinstance(request, bytes), streaming](path_of(method))
    try:
        answer = call(request, metadata=metadata, timeout=0.1 if streaming else 60, compression=compression)
        if streaming:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        size = len(error.details() or "") + sum(len(one.key) + len(one.value) for one in error.trailing_metadata() or ())
        assert size < MAX_METADATA
        waited = streaming and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return grpc.StatusCode.OK if waited else error.code()
    return grpc.StatusCode.OK


def alive(served: Serving, channel: grpc.Channel) -> bool:
    """Check that the components exist, and that no shutdown was requested."""
    answer = ControlServiceStub(channel).ListComponents(pb.ListComponentsRequest(), metadata=served.metadata(), timeout=60)
    return len(answer.pipeline.components) == 4 and not served.shutdowns


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Valid and invalid values of a field."""
    if field.message_type is not None:
        return messages(field.message_type, depth - 1)
    whole = {FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1), FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
             FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1), FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
             FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1)}  # fmt: skip
    if field.cpp_type in whole:
        return st.integers(*whole[field.cpp_type]) | st.integers(0, 5)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = st.sampled_from(["page", "reader/one", "bitcoin", "", "\n", "../x", "x" * 60_000, "é" * 20_000]) | st.text(max_size=50)
        return text.map(str.encode) if field.type == FieldDescriptor.TYPE_BYTES else text
    return st.booleans() if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else st.floats()


@st.composite
def messages(draw: st.DrawFn, kind: Any, depth: int = 4) -> Message:
    """A message of `kind` with some of its fields set."""
    made = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        if depth == 0 or not draw(st.booleans()):
            continue
        if field.is_repeated:
            for value in draw(st.lists(values(field, depth), max_size=3)):
                getattr(made, field.name).append(value)
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(draw(values(field, depth)))
        else:
            setattr(made, field.name, draw(values(field, depth)))
    return made


@BY_NAME
@QUICK
@given(payload=st.binary(max_size=300), who=st.sampled_from(WHO))
@example(payload=b"", who="operate")
@example(payload=b"", who="read")
@example(payload=b"", who="nobody")
@example(payload=b"\xff" * 40, who="operate")
@example(payload=b"\x0a\xff", who="operate")
@example(payload=b"\x0a\x02\xc3\x28", who="operate")  # text that is not UTF-8
@example(payload=b"\x0b" * 200, who="operate")  # nested groups, deeper than the decoder's limit
def test_any_bytes(served: Serving, channel: grpc.Channel, tokens: dict[str, str], method: MethodDescriptor, payload: bytes, who: str) -> None:
    assert ask(served, channel, method, payload, metadata=bearer(tokens.get(who))) in codes_of(who, method)
    assert alive(served, channel)


@BY_NAME
@QUICK
@given(data=st.data(), who=st.sampled_from(WHO))
def test_any_message(served: Serving, channel: grpc.Channel, tokens: dict[str, str], method: MethodDescriptor, data: st.DataObject, who: str) -> None:
    asked = [data.draw(messages(method.input_type)).SerializeToString() for _ in range(2 if method.client_streaming else 1)]
    assert ask(served, channel, method, *asked, metadata=bearer(tokens.get(who))) in codes_of(who, method)
    assert alive(served, channel)


@QUICK
@given(token=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200), scheme=st.sampled_from(["Bearer", "bearer", "Basic", ""]))
def test_any_token(served: Serving, channel: grpc.Channel, token: str, scheme: str) -> None:
    for method in METHODS[:3]:
        assert ask(served, channel, method, b"", metadata=(("authorization", f"{scheme} {token}"),)) is grpc.StatusCode.UNAUTHENTICATED


@QUICK
@given(name=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=100), who=st.sampled_from(WHO))
def test_any_name_of_a_method(served: Serving, channel: grpc.Channel, tokens: dict[str, str], name: str, who: str) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{name}")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", metadata=bearer(tokens.get(who)), timeout=60)
    expected = {"operate": grpc.StatusCode.UNIMPLEMENTED, "read": grpc.StatusCode.PERMISSION_DENIED}
    assert refused.value.code() is expected.get(who, grpc.StatusCode.UNAUTHENTICATED)
    assert alive(served, channel)


@BY_NAME
def test_an_honest_message_of_a_caller_without_the_role_changes_nothing(
    served: Serving, channel: grpc.Channel, tokens: dict[str, str], method: MethodDescriptor
) -> None:
    if only_reads(path_of(method)):
        return
    before, operations = served.reconciler.snapshot(), served.manager.all()
    for who in ("nobody", "stranger", "read"):
        for request in honest(served, method):
            assert {ask(served, channel, method, request.SerializeToString(), metadata=bearer(tokens.get(who)))} == codes_of(who, method)
    assert served.reconciler.snapshot() == before
    assert served.manager.all() == operations
    assert served.shutdowns == []


@BY_NAME
def test_calls_that_are_no_calls(served: Serving, channel: grpc.Channel, method: MethodDescriptor) -> None:
    junk = b"\xff" * 10
    # A stream with an invalid second message; two messages instead of one; a message that is too long, before or after decompression.
    for payloads, compression in (
        ((b"", junk), None),
        ((junk, b""), None),
        ((b"x" * 70_000,), None),
        ((b"\x0a" + b"\x80\x80\x40" + b"x" * 2**20,), grpc.Compression.Gzip),
    ):
        assert ask(served, channel, method, *payloads, compression=compression) in CODES
    # Not a single message.
    if not method.client_streaming:
        assert ask(served, channel, method) is grpc.StatusCode.INVALID_ARGUMENT
    assert alive(served, channel)
    assert len(gzip.compress(b"x" * 2**20)) < 2_000  # so the decompressed size is refused


@BY_NAME
def test_what_changes_something_does_nothing_on_an_empty_or_unknown_message(served: Serving, channel: grpc.Channel, method: MethodDescriptor) -> None:
    if only_reads(path_of(method)):
        return
    before, operations = served.reconciler.snapshot(), served.manager.all()
    for payload in (b"", b"\xf8\x01\x01", b"\xfa\x01\x04page", b"\xf8\x01\x01\xf8\x01\x02"):
        assert ask(served, channel, method, payload) is grpc.StatusCode.INVALID_ARGUMENT
    assert served.reconciler.snapshot() == before
    assert served.manager.all() == operations
    assert served.shutdowns == []


def honest(served: Serving, method: MethodDescriptor) -> list[Message]:
    """Valid requests of a method that changes something, with every field set."""
    made = message_factory.GetMessageClass(method.input_type)
    fields = {field.name for field in method.input_type.fields}
    if "pipeline_id" in fields:
        return [made(pipeline_id=pipeline_id(served.settings))]
    if "arguments" in fields:
        return [made(arguments={"backfill": {"assets": ["bitcoin"]}}), made(arguments={"maintenance": {}})]
    return [made(operation_id="0" * 32)] if "operation_id" in fields else [made(name="page")]


@BY_NAME
def test_one_unknown_field_in_an_honest_message_changes_nothing(served: Serving, channel: grpc.Channel, method: MethodDescriptor) -> None:
    if only_reads(path_of(method)):
        return
    before, operations = served.reconciler.snapshot(), served.manager.all()
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path_of(method))
    for request in honest(served, method):
        for payload in (request.SerializeToString() + b"\xf8\x01\x01", b"\xfa\x01\x04page" + request.SerializeToString(), *within(request)):
            with pytest.raises(grpc.RpcError, match="unknown fields") as refused:
                call(payload, metadata=served.metadata(), timeout=60)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.reconciler.snapshot() == before
    assert served.manager.all() == operations
    assert served.shutdowns == []


def within(request: Message) -> list[bytes]:
    """The request with an unknown field in each of its messages."""
    found = []
    for field, value in request.ListFields():
        if field.message_type is not None:
            changed = type(request)()
            changed.CopyFrom(request)
            getattr(changed, field.name).MergeFromString(value.SerializeToString() + b"\xf8\x01\x01")
            found.append(changed.SerializeToString())
    return found


def test_the_methods_that_only_read_are_these() -> None:
    changing = {method.name for method in METHODS if not only_reads(path_of(method))}
    assert changing == {
        "StartComponent", "StopComponent", "RestartComponent", "StartPipeline", "StopPipeline", "Shutdown", "TripBreaker", "ResetBreaker",
        "StartOperation", "CancelOperation",
    }  # fmt: skip


def times(kind: Any, path: str = "", depth: int = 4) -> Iterator[str]:
    """Paths of all timestamps and durations in a message type."""
    for field in kind.fields if depth else ():
        if field.message_type is None:
            continue
        here = f"{path}.{field.name}" if path else field.name
        if field.message_type.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            yield here
        else:
            yield from times(field.message_type, here, depth - 1)


TIMES = [(method, path) for method in METHODS for path in times(method.input_type)]


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)])
@pytest.mark.parametrize(("method", "path"), TIMES, ids=lambda value: value if isinstance(value, str) else value.name)
def test_times_that_do_not_exist_are_named(
    served: Serving, channel: grpc.Channel, method: MethodDescriptor, path: str, seconds: int, nanos: int
) -> None:
    made = message_factory.GetMessageClass(method.input_type)()
    *way, last = path.split(".")
    holder = made
    for step in way:
        holder = getattr(holder, step)
    getattr(holder, last).seconds, getattr(holder, last).nanos = seconds, nanos
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path_of(method))
    with pytest.raises(grpc.RpcError, match=path) as refused:
        call(made.SerializeToString(), metadata=served.metadata(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_there_are_times_to_check() -> None:
    assert {f"{method.name} {path}" for method, path in TIMES} >= {"ListGaps start", "ListGaps end", "StartOperation arguments.backfill.start"}


def test_a_long_subject_is_not_sent_back(served: Serving, channel: grpc.Channel) -> None:
    method = next(method for method in METHODS if method.name == "ListGaps")
    request = partial(message_factory.GetMessageClass(method.input_type))
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path_of(method))
    for subject, most in (("x" * 60_000, 200), ("y" * 200, 1_000)):
        with pytest.raises(grpc.RpcError) as refused:
            call(request(subjects=[subject]).SerializeToString(), metadata=served.metadata(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = refused.value.details()
        assert details is not None
        assert len(details) < most
        assert "y" * 65 not in details
        assert "x" * 65 not in details


@pytest.mark.parametrize("number", [0, -1, 2**31 - 1, -(2**31)])
def test_reflection_of_what_is_not_there(served: Serving, channel: grpc.Channel, number: int) -> None:
    extension = reflection_pb2.ExtensionRequest(containing_type="cryptoviz.control.v1.Pipeline", extension_number=number)
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_extension=extension),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="nothing"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="/etc/passwd"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=".."),
    ]
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    answers = call(iter([one.SerializeToString() for one in asked]), metadata=served.metadata(), timeout=60)
    responses = [reflection_pb2.ServerReflectionResponse.FromString(answer) for answer in answers]
    missing, _ = grpc.StatusCode.NOT_FOUND.value
    assert [answer.error_response.error_code for answer in responses] == [missing] * 4


def test_health_of_all(served: Serving, channel: grpc.Channel) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/List")
    statuses = health_pb2.HealthListResponse.FromString(call(b"", metadata=served.metadata(), timeout=60)).statuses
    assert {"", "page", "engine", "worker", "reader/one", "cryptoviz.control.v1.ControlService"} <= set(statuses)
