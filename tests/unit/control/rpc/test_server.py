"""The gRPC server over a real socket, with fakes behind it: codes, credentials, limits, abuse."""

from __future__ import annotations

import io
import os
import random
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cryptoviz.components import ComponentState, DesiredState
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.errors import PreflightError, UnknownComponent
from cryptoviz.log import configure_logging
from cryptoviz.rpc.pipeline_status import PipelineStatus
from tests.support.control_server import Serving, serving
from tests.support.waiting import eventually

RANDOM = random.Random(25).randbytes(4096)
METHOD = "/cryptoviz.control.v1.ControlService/"


def refusal(call: Any, *arguments: Any, **keywords: Any) -> grpc.RpcError:
    def run() -> None:
        answer = call(*arguments, timeout=60, **keywords)
        if hasattr(answer, "__next__"):
            next(answer)

    with pytest.raises(grpc.RpcError) as caught:
        run()
    return caught.value


def state_of_page(pipeline: PipelineStatus) -> ComponentState | None:
    page = pipeline.component("page")
    return None if page is None else page.state


def details_of(error: grpc.RpcError) -> list[Any]:
    """The field violations of a refusal."""
    bad_request = error_details_pb2.BadRequest()
    status = status_pb2.Status.FromString({one.key: one.value for one in error.trailing_metadata()}["grpc-status-details-bin"])
    assert status.details[0].Unpack(bad_request)
    return list(bad_request.field_violations)


def test_health_and_reflection(served: Serving, channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def status(service: str) -> int:
        found: int = health.Check(health_pb2.HealthCheckRequest(service=service), metadata=served.metadata()).status
        return found

    assert status("") == health_pb2.HealthCheckResponse.SERVING
    assert status("cryptoviz.control.v1.ControlService") == health_pb2.HealthCheckResponse.SERVING
    eventually(lambda: status("page") == health_pb2.HealthCheckResponse.NOT_SERVING)
    with served.client() as client:
        client.start("page")
    eventually(lambda: status("page") == health_pb2.HealthCheckResponse.SERVING)
    unknown = refusal(health.Check, health_pb2.HealthCheckRequest(service="nothing"), metadata=served.metadata())
    assert unknown.code() is grpc.StatusCode.NOT_FOUND

    watch = health.Watch(health_pb2.HealthCheckRequest(service="page"), metadata=served.metadata())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    with served.client() as client:
        client.stop("page")
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()

    ask = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask, metadata=served.metadata())
    names = {service.name for service in next(answers).list_services_response.service}
    ours = {f"cryptoviz.control.v1.{name}Service" for name in ("Control", "Operations", "Gaps")}
    assert names == ours | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Bearer "),),
        (("authorization", ""),),
        (("authorization", "Basic x"),),
        (("x-token", "TOKEN"),),
        (("authorization", "TOKEN"),),
        (("authorization", "Bearer TOKEN"), ("authorization", "Bearer TOKEN")),
    ],
)
def test_every_call_asks_for_the_token(served: Serving, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
    given = tuple((key, value.replace("TOKEN", served.token)) for key, value in metadata)
    stub = ControlServiceStub(channel)
    calls: list[tuple[Any, Any]] = [
        (stub.ListComponents, pb.ListComponentsRequest()),
        (stub.StopPipeline, pb.StopPipelineRequest()),
        (stub.Shutdown, pb.ShutdownRequest()),
        (stub.WatchPipeline, pb.WatchPipelineRequest()),
        (stub.TailLogs, pb.TailLogsRequest(name="page")),
        (health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest()),
        (health_pb2_grpc.HealthStub(channel).Watch, health_pb2.HealthCheckRequest()),
        (reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo, iter([reflection_pb2.ServerReflectionRequest(list_services="")])),
    ]
    for call, request in calls:
        error = refusal(call, request, metadata=given)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert served.token not in str(error.details())
    assert served.shutdowns == []


@pytest.mark.parametrize("method", ["GetComponent", "StartComponent", "StopComponent", "RestartComponent", "TailLogs"])
@pytest.mark.parametrize("name", ["", "../x", "scraper/../../x", "page\nlevel=error", "page\n", "PAGE", "a" * 60_000])
def test_malformed_names_are_refused_with_details(served: Serving, channel: grpc.Channel, method: str, name: str) -> None:
    request = getattr(pb, f"{method}Request")(name=name)
    error = refusal(getattr(ControlServiceStub(channel), method), request, metadata=served.metadata())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)[0].field == "name"
    details = error.details()
    assert details is not None
    assert len(details) < 300  # received text is not returned


@pytest.mark.parametrize("method", ["GetComponent", "StartComponent", "StopComponent", "RestartComponent", "TailLogs"])
def test_unknown_names_are_not_found(served: Serving, channel: grpc.Channel, method: str) -> None:
    error = refusal(getattr(ControlServiceStub(channel), method), getattr(pb, f"{method}Request")(name="zookeeper"), metadata=served.metadata())
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "no component 'zookeeper'; valid: engine, worker, reader/one, page"


def test_a_megabyte_name_is_too_large_and_no_fault_of_ours(served: Serving, channel: grpc.Channel, lines: io.StringIO) -> None:
    request = pb.GetComponentRequest(name="x" * 1_000_000)
    assert refusal(ControlServiceStub(channel).GetComponent, request, metadata=served.metadata()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    eventually(lambda: "GetComponent" in lines.getvalue())
    assert "call_failed" not in lines.getvalue()


@pytest.mark.parametrize("payload", [b"\xff" * 40, b"\x0a\xff", b"\x0f", RANDOM[:2000]])
@pytest.mark.parametrize("method", ["GetComponent", "StopComponent", "WatchPipeline", "TailLogs"])
def test_bytes_that_are_no_message_are_refused(served: Serving, channel: grpc.Channel, method: str, payload: bytes) -> None:
    kind = channel.unary_stream if method in ("WatchPipeline", "TailLogs") else channel.unary_unary
    assert refusal(kind(METHOD + method), payload, metadata=served.metadata()).code() is grpc.StatusCode.INVALID_ARGUMENT
    with served.client() as client:
        assert len(client.list().components) == 4


@pytest.mark.parametrize("method", ["StartPipeline", "StopPipeline", "Shutdown"])
@pytest.mark.parametrize(
    "payload",
    [
        b"",  # nothing
        b"\x0a\x00",  # an empty id
        b"\x0a\x09cryptoviz",  # another id
        b"\xf8\x01\x01",  # an unknown field
        b"\x0a\x05OTHER",
    ],
)
def test_a_verb_for_the_whole_pipeline_must_name_it(served: Serving, channel: grpc.Channel, method: str, payload: bytes) -> None:
    with served.client() as client:
        client.start("page")
        eventually(lambda: client.get("page").state is ComponentState.RUNNING)
        error = refusal(channel.unary_unary(METHOD + method), payload, metadata=served.metadata())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details_of(error)[0].field in ("pipeline_id", "message")
        # Nothing was stopped, nothing else was started.
        assert [one.name for one in client.list().components if one.desired is DesiredState.RUNNING] == ["page"]
    assert served.shutdowns == []


@pytest.mark.parametrize(
    "method", ["StartPipeline", "StopPipeline", "Shutdown", "StartComponent", "StopComponent", "RestartComponent", "TripBreaker"]
)
def test_a_verb_with_a_field_that_is_not_understood_changes_nothing(served: Serving, channel: grpc.Channel, method: str) -> None:
    kind = getattr(pb, f"{method}Request")
    named = kind(pipeline_id=served.reconciler.snapshot().id) if "pipeline_id" in kind.DESCRIPTOR.fields_by_name else kind(name="page")
    before = served.reconciler.snapshot()
    error = refusal(channel.unary_unary(METHOD + method), named.SerializeToString() + b"\xf8\x01\x01", metadata=served.metadata())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [(one.field, one.description) for one in details_of(error)] == [("message", "has unknown fields")]
    assert served.reconciler.snapshot() == before


def test_a_method_that_only_reads_ignores_what_it_does_not_know(served: Serving, channel: grpc.Channel) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD + "ListComponents")
    answer = call(b"\xf8\x01\x01", metadata=served.metadata(), timeout=60)
    assert len(pb.ListComponentsResponse.FromString(answer).pipeline.components) == 4


def test_an_unknown_method_is_unimplemented(served: Serving, channel: grpc.Channel) -> None:
    assert refusal(channel.unary_unary(METHOD + "Nothing"), b"", metadata=served.metadata()).code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_fault_of_ours_is_internal_and_has_an_id(served: Serving, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("secret-canary")

    monkeypatch.setattr(served.reconciler, "snapshot", broken)
    error = refusal(ControlServiceStub(channel).ListComponents, pb.ListComponentsRequest(), metadata=served.metadata())
    assert error.code() is grpc.StatusCode.INTERNAL
    details = error.details()
    assert details is not None
    assert "secret-canary" not in details
    assert details.startswith("internal error ")


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500, RANDOM],
)
def test_noise_on_the_port_affects_no_caller(served: Serving, noise: bytes) -> None:
    with served.client() as client:
        client.list()
        for _ in range(5):
            with socket.create_connection((served.settings.control.host, served.settings.control.port), 5) as raw:
                raw.sendall(noise)
        assert len(client.list().components) == 4


def test_many_callers_at_once(served: Serving) -> None:
    with served.client(timeout_s=120) as client, ThreadPoolExecutor(32) as pool:
        verbs = [client.list, lambda: client.get("page"), lambda: client.start("page"), lambda: client.stop("page")]
        for answer in [pool.submit(verbs[number % 4]) for number in range(200)]:
            answer.result()
        client.start("page")
        eventually(lambda: client.get("page").state is ComponentState.RUNNING)


def test_a_slow_watcher_sees_the_newest_state_and_delays_no_caller(served: Serving, channel: grpc.Channel) -> None:
    slow = ControlServiceStub(channel).WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata())
    next(slow)
    with served.client() as client:
        for _ in range(20):
            client.start("page")
            client.wait(10, lambda pipeline: state_of_page(pipeline) is ComponentState.RUNNING)
            client.stop("page")
            client.wait(10, lambda pipeline: state_of_page(pipeline) is ComponentState.STOPPED)
        newest = client.list().version
    versions = [next(slow).pipeline.version]
    while versions[-1] < newest:
        versions.append(next(slow).pipeline.version)
    assert versions == sorted(set(versions))
    slow.cancel()


def test_a_watch_resumes_after_a_version(served: Serving) -> None:
    with served.client() as client:
        now = next(client.watch()).version
        resumed = client.watch(now)
        client.start("page")
        later = next(resumed)
        assert later.version > now
        # A version of another server: the whole state is sent at once.
        assert next(client.watch(2**60)).version < 2**60


def test_watchers_are_limited(served: Serving, channel: grpc.Channel) -> None:
    stub = ControlServiceStub(channel)
    watches = [stub.WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata()) for _ in range(16)]
    for watch in watches:
        next(watch)
    error = refusal(stub.WatchPipeline, pb.WatchPipelineRequest(), metadata=served.metadata())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()

    def admitted() -> bool:
        watch = stub.WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata(), timeout=60)
        try:
            next(watch)
        except grpc.RpcError:
            return False
        watch.cancel()
        return True

    eventually(admitted)


def test_a_taken_port_is_said_clearly(served: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rpc.server._BIND_TIMEOUT_S", 0.1)
    with (
        pytest.raises(PreflightError, match=rf"{served.address} is in use.*CRYPTOVIZ_CONTROL__PORT"),
        serving(tmp_path / "b", port=served.settings.control.port),
    ):
        pass


def test_the_end_is_announced_before_it_comes(served: Serving, channel: grpc.Channel) -> None:
    with served.client() as client:
        client.start("page")
        eventually(lambda: client.get("page").state is ComponentState.RUNNING)
        client.shutdown()
        assert client.wait_stopped(120).state is ComponentState.STOPPED
    assert served.shutdowns == ["asked"]
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=served.metadata())
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    request = pb.StartPipelineRequest(pipeline_id=served.reconciler.snapshot().id)
    error = refusal(ControlServiceStub(channel).StartPipeline, request, metadata=served.metadata())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_the_plain_example_does_not_go_through_a_proxy(served: Serving) -> None:
    script = Path(__file__).parents[4] / "examples" / "plain_grpc.py"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, str(script), "--address", served.address, "--token-file", str(served.settings.token_file)]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["engine", "worker", "reader/one", "page"]


def test_tls(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "1", *names],
        check=True,
        capture_output=True,
    )
    with pytest.raises(PreflightError, match=r"without control\.tls_key"), serving(tmp_path / "home", tls_cert=cert):
        pass
    with serving(tmp_path / "home", tls_cert=cert, tls_key=key) as served:
        with served.client() as client:
            assert len(client.list().components) == 4
        with grpc.insecure_channel(served.address) as plain:
            error = refusal(ControlServiceStub(plain).ListComponents, pb.ListComponentsRequest(), metadata=served.metadata())
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=str(cert))
        with (
            socket.create_connection(("127.0.0.1", served.settings.control.port), 5) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as wrapped,
        ):
            assert wrapped.version() in ("TLSv1.2", "TLSv1.3")


def test_calls_are_logged_without_what_they_say(served: Serving) -> None:
    written = io.StringIO()
    configure_logging("INFO", written)
    try:
        with served.client() as client, pytest.raises(UnknownComponent):
            client.get("zookeeper")
        eventually(lambda: "GetComponent" in written.getvalue())
    finally:
        structlog.reset_defaults()
    line = next(line for line in written.getvalue().splitlines() if "GetComponent" in line)
    assert "peer=ipv4:127.0.0.1:" in line
    assert "code=NOT_FOUND" in line
    assert "ms=" in line
    assert "zookeeper" not in written.getvalue()
    assert served.token not in written.getvalue()
