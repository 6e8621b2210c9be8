"""Service under floods, idle connections and clients that do not read, over a real socket."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control.rpc.admission import CallCounts, RefusalPacer, address_of
from control.rpc.call_log import CallLog
from control.rpc.methods import SERVICES, Budget, budget_of
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.rpc.channel import SERVER_OPTIONS
from cryptoviz.telemetry.log_files import log_path
from tests.support.control_server import Serving
from tests.support.waiting import eventually, eventually_async

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
WATCH = f"/{SERVICES[3]}/Watch"


@pytest.fixture
def channel(served: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address, options=OWN_CONNECTION) as channel:
        yield channel


def code_of(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return "OK"


async def flood(address: str, calls: int, channels: int) -> list[str]:
    """Status codes of concurrent calls without a token, over a number of connections."""
    opened = [grpc.aio.insecure_channel(address, options=OWN_CONNECTION) for _ in range(channels)]
    stubs = [ControlServiceStub(one) for one in opened]

    async def one(number: int) -> str:
        try:
            await stubs[number % channels].ListComponents(pb.ListComponentsRequest(), timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    try:
        return list(await asyncio.gather(*(one(number) for number in range(calls))))
    finally:
        for channel in opened:
            await channel.close()


def test_a_flood_without_a_token_takes_no_room_and_fails_no_call(served: Serving, lines: io.StringIO) -> None:
    assert served.server is not None
    codes: list[str] = []
    begun = time.monotonic()
    attack = threading.Thread(target=lambda: codes.extend(asyncio.run(flood(served.address, 1_000, 4))))
    taken = []
    with served.client(timeout_s=60) as client:
        client.list()
        attack.start()
        eventually(lambda: served.server.token_check.pacer.waiting > 100)  # type: ignore[union-attr]
        for _ in range(100):
            assert len(client.list().components) == 4
            taken.append(served.server.call_counts.count(budget_of("ListComponents")))
    attack.join(240)
    assert codes == ["UNAUTHENTICATED"] * 1_000
    # Our own finished call may still be counted.
    assert max(taken) <= 1
    # 1 000 refusals: at most 20 lines per 10 s, and one line for the rest.
    windows = (time.monotonic() - begun) / 10 + 2
    assert 1 <= lines.getvalue().count("UNAUTHENTICATED") <= 21 * windows


def test_a_refusal_reads_nothing_of_the_call(served: Serving, channel: grpc.Channel) -> None:
    # Without a token, invalid bytes, a message that is too long and an unknown method are refused alike.
    for method in ("ListComponents", "Shutdown", "Nothing"):
        for payload in (b"\xff" * 40, b"x" * 100_000):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/cryptoviz.control.v1.ControlService/{method}")
            assert code_of(lambda call=call, payload=payload: call(payload, timeout=60)).startswith("UNAUTHENTICATED")


def test_refusals_are_spread_over_time_and_none_waits_for_ever() -> None:
    pacer = RefusalPacer(per_s=10, longest_s=2.0)
    # After a pause a burst of one second's number is sent at once.
    assert [pacer.delay_s("a", 100.0) for _ in range(10)] == [0.0] * 10
    # Then a tenth of a second each, up to the longest delay.
    waits = [pacer.delay_s("a", 100.0) for _ in range(100)]
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(waits) == 2.0
    # After two seconds the queue is empty; after three a burst is possible again.
    assert pacer.delay_s("a", 102.0) == pytest.approx(0.1)
    assert pacer.delay_s("a", 104.0) == 0.0


def test_a_flood_of_one_peer_delays_no_refusal_of_another() -> None:
    pacer = RefusalPacer(per_s=10, longest_s=2.0)
    assert max(pacer.delay_s("a", 100.0) for _ in range(1_000)) == 2.0
    assert pacer.delay_s("b", 100.0) == 0.0


def test_the_table_of_peers_is_bounded_and_a_flood_frees_no_peer_that_is_limited() -> None:
    pacer = RefusalPacer(per_s=1, longest_s=5.0, peers=3)
    assert [pacer.delay_s("a", 100.0) for _ in range(7)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0]
    assert [pacer.delay_s(peer, 100.0) for peer in ("b", "c")] == [0.0, 0.0]
    # No room: the further peers share one rate.
    assert [pacer.delay_s(f"further {number}", 100.0) for number in range(3)] == [0.0, 1.0, 2.0]
    assert pacer.delay_s("a", 100.0) == 5.0
    # The peers whose burst is free again make room, but not the one that still waits; the last is "a", refused most recently.
    assert pacer.delay_s("d", 103.0) == 0.0
    assert pacer.delay_s("a", 103.0) == 3.0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:5000", "192.0.2.7"),
        ("ipv6:%5B::1%5D:5000", "::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:5000", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:5000", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.7]:5000", "192.0.2.7"),
        ("unix:", ""),
        ("ipv6:x:5000", "x"),
    ],
)
def test_a_peer_is_limited_by_its_address_whatever_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


def test_room_is_counted_by_kind_and_by_connection() -> None:
    counts, small = CallCounts(), Budget("watches", 3, 2, "close one")
    with counts.taken(small, "a"), counts.taken(small, "a"):
        assert counts.full(small, "a") == "the limit of 2 watches per connection is reached: close one"
        assert counts.full(small, "b") == ""
        with counts.taken(small, "b"):
            assert counts.full(small, "c") == "the limit of 3 watches is reached: close one"
            assert counts.full(budget_of("else"), "c") == ""
    assert counts.full(small, "a") == ""
    assert counts.count(small) == 0


def test_streams_of_one_connection_leave_room_for_its_calls() -> None:
    streams = [f"/{service}/{method}" for service in SERVICES for method in ("WatchPipeline", "TailLogs", "WatchOperation", "ListGaps", "Watch")]
    lasting = {budget_of(method).name: budget_of(method).each for method in streams}
    assert sum(lasting.values()) < dict(SERVER_OPTIONS)["grpc.max_concurrent_streams"]


def test_five_hundred_watches_of_health_block_no_other_caller(served: Serving, channel: grpc.Channel) -> None:
    others = [grpc.insecure_channel(served.address, options=(*OWN_CONNECTION, ("n", number))) for number in range(6)]
    watches = []
    try:
        for number in range(510):
            health = health_pb2_grpc.HealthStub((channel, *others)[number % 7])
            watches.append(health.Watch(health_pb2.HealthCheckRequest(service="page"), metadata=served.metadata()))
        refused = [code for code in (code_of(lambda watch=watch: next(watch)) for watch in watches) if code != "OK"]
        assert len(refused) == 510 - 64
        assert all(code.startswith("RESOURCE_EXHAUSTED") and "health watches" in code and "poll Check" in code for code in refused)
        stub, health = ControlServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            assert len(stub.ListComponents(pb.ListComponentsRequest(), metadata=served.metadata(), timeout=60).pipeline.components) == 4
            health.Check(health_pb2.HealthCheckRequest(), metadata=served.metadata(), timeout=60)
        # Other kinds: a watch of the pipeline, and a log.
        pipeline = stub.WatchPipeline(pb.WatchPipelineRequest(), metadata=served.metadata(), timeout=60)
        assert next(pipeline).pipeline.version
        pipeline.cancel()
        assert list(stub.TailLogs(pb.TailLogsRequest(name="page"), metadata=served.metadata(), timeout=60)) == []
    finally:
        for watch in watches:
            watch.cancel()
        for other in others:
            other.close()
    eventually(lambda: served.server is not None and served.server.call_counts.count(budget_of(WATCH)) == 0)


def test_a_watcher_that_does_not_read_holds_up_neither_health_nor_the_end(served: Serving, channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="page"), metadata=served.metadata())
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with served.client() as client:
        client.start("page")
        eventually(lambda: client.get("page").state == "RUNNING")
        client.shutdown()
        client.wait_stopped(120)
    statuses = [next(watch).status]
    while statuses[-1] != health_pb2.HealthCheckResponse.NOT_SERVING:
        statuses.append(next(watch).status)
    watch.cancel()


def test_a_client_that_does_not_read_loses_its_slot(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rpc.handlers._SLOW_S", 0.3)
    path = log_path(served.settings, "page")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{number} {'x' * 4000}\n" for number in range(4000)))  # 16 MB, more than all buffers
    budget = budget_of("/cryptoviz.control.v1.ControlService/TailLogs")
    # Without the probe the client's window keeps its size; with it, a machine at full load has windows above 16 MB.
    with grpc.insecure_channel(served.address, options=(*OWN_CONNECTION, ("grpc.http2.bdp_probe", 0))) as channel:
        reader = ControlServiceStub(channel).TailLogs(pb.TailLogsRequest(name="page", lines=4000), metadata=served.metadata(), timeout=60)
        next(reader)
        assert served.server is not None
        eventually(lambda: served.server is not None and served.server.call_counts.count(budget) == 0)
        with served.client() as client:
            assert len(client.list().components) == 4
        # A client that reads later finds that the call was ended.
        assert code_of(lambda: list(reader)).startswith("RESOURCE_EXHAUSTED no response was read")


@pytest.mark.parametrize("method", ["ListComponents", "WatchPipeline", "Shutdown"])
def test_a_call_whose_message_does_not_come_ends(served: Serving, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr("control.rpc.handlers._MESSAGE_S", 0.3)
    never = threading.Event()

    def silent() -> Iterator[bytes]:
        never.wait(120)
        yield from ()

    call: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/cryptoviz.control.v1.ControlService/{method}")
    assert code_of(lambda: call(silent(), metadata=served.metadata(), timeout=60)).startswith("DEADLINE_EXCEEDED no request message")
    never.set()
    assert served.shutdowns == []


def test_silent_sockets_are_closed_and_block_no_other_caller(served: Serving) -> None:
    where = (served.settings.control.host, served.settings.control.port)
    with served.client(timeout_s=60) as client:
        client.list()
        silent = [socket.create_connection(where, 5) for _ in range(300)]
        try:
            assert len(client.list().components) == 4
            with grpc.insecure_channel(served.address, options=OWN_CONNECTION) as fresh:
                ControlServiceStub(fresh).ListComponents(pb.ListComponentsRequest(), metadata=served.metadata(), timeout=60)

            def all_closed() -> bool:
                return all(_closed(one) for one in silent)

            eventually(all_closed, 60, 0.5)
        finally:
            for one in silent:
                one.close()


def _closed(one: socket.socket) -> bool:
    try:
        while one.recv(4096, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_large_metadata_is_refused(served: Serving, channel: grpc.Channel) -> None:
    stub = ControlServiceStub(channel)
    for pairs in ((("x-large", "y" * 60_000),), tuple((f"x-{number}", "y" * 100) for number in range(500))):
        code = code_of(lambda pairs=pairs: stub.ListComponents(pb.ListComponentsRequest(), metadata=(*served.metadata(), *pairs), timeout=60))
        assert code.startswith("RESOURCE_EXHAUSTED"), code
    assert len(stub.ListComponents(pb.ListComponentsRequest(), metadata=served.metadata(), timeout=60).pipeline.components) == 4


async def test_refusals_beyond_a_few_are_logged_as_a_number(lines: io.StringIO) -> None:
    log = CallLog(window_s=60.0, lines=3)
    for number in range(1_000):
        if number % 4:
            log.refused("UNAUTHENTICATED", "/x/Y", "ipv4:127.0.0.1:9")
        else:
            log.failed("INVALID_ARGUMENT", "/x/Y", "ipv4:127.0.0.1:9", "owner", 0.001)
    log.close()
    logged = lines.getvalue().splitlines()
    assert len(logged) == 4
    # 250 of 1 000 are INVALID_ARGUMENT; the first of them, and two of the others, have separate lines.
    assert "event=calls_refused" in logged[-1]
    assert "count=997" in logged[-1]
    assert "INVALID_ARGUMENT=249" in logged[-1]
    assert "UNAUTHENTICATED=748" in logged[-1]


async def test_the_next_window_logs_refusals_again(lines: io.StringIO) -> None:
    log = CallLog(window_s=0.05, lines=1)

    async def reported() -> bool:
        return "calls_refused" in lines.getvalue()

    for _ in range(3):
        log.refused("UNAUTHENTICATED", "/x/Y", "peer")
    await eventually_async(reported)
    log.refused("UNAUTHENTICATED", "/x/Y", "peer")
    log.close()
    assert [line.split("event=")[1].split()[0] for line in lines.getvalue().splitlines()] == ["call", "calls_refused", "call"]


def test_no_call_is_cancelled_for_calls_that_wait() -> None:
    """Above its limit of pending calls gRPC cancels calls at random, also with a token: the limit covers all connections."""
    options = dict(SERVER_OPTIONS)
    most = options["grpc.max_allowed_incoming_connections"] * options["grpc.max_concurrent_streams"]
    assert options["grpc.server.max_pending_requests"] == options["grpc.server.max_pending_requests_hard_limit"] == most
