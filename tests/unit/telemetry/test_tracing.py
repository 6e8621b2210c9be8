"""Spans: off by default without an import, their tree, and a receiver that fails."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.errors import MissingExtra, SettingsError
from cryptoviz.settings import Settings, load_settings
from cryptoviz.telemetry.otel import BATCH_SPANS, QUEUE_SPANS
from cryptoviz.telemetry.trace_context import is_context
from cryptoviz.telemetry.tracing import current_context, flush_spans, span, start_tracing, tick_context, tick_span, written_span
from tests.support.certificates import authority, certificate
from tests.support.clock import T0
from tests.support.log_lines import log_lines
from tests.support.otlp import Receiver, end_tracing, otlp_receiver
from tests.support.settings import forget_settings
from tests.support.waiting import eventually

CANARY = "Bearer canary-77 f2"


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A process that sends no spans, and whose settings are the defaults."""
    forget_settings(monkeypatch, tmp_path)
    yield
    end_tracing()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as found:
        yield found


def settings_for(receiver: Receiver, **more: object) -> Settings:
    return load_settings(tracing={"endpoint": receiver.endpoint, "headers": {"authorization": CANARY}, "timeout_s": 30, **more})


OFF = """
import asyncio, sys
import actors.collecting.actor, actors.scraping.actor, spark_jobs.streaming.batch, spark_jobs.streaming.tasks
from actors.fetching.hold_off import HoldOff
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from cryptoviz.clock import SystemClock
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.tracing import current_context, span, start_tracing, tick_context
from cryptoviz.records import TickResult

class Provider:
    name = "x"
    async def poll(self, tick_ts, assets, budget_s):
        with span("GET", {}) as inner:
            assert inner.context == current_context() == tick_context(1) == ""
        return TickResult("x", tick_ts, "f", 1, tick_ts)

start_tracing(load_settings(), "scraper/x")
results = []
scheduler = PollScheduler(Provider(), (), PollRules(1000, 1.0, 1.0), HoldOff(), SystemClock(), results.append)
asyncio.run(scheduler.poll_once(1000))
assert results[0].traceparent == ""
# Ray imports other parts of OpenTelemetry for its own metrics, and requests.
ours = ("cryptoviz.telemetry.otel", "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp")
print(sorted(name for name in sys.modules if name.startswith(ours)))
"""


def test_nothing_is_imported_while_it_is_off() -> None:
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_span_that_is_off_is_one_object_for_all() -> None:
    assert span("poll", {}) is span("GET", {}, parent="", links=["x"])
    with span("poll", {}) as found:
        found.set({"a": 1})
        found.link(["x"])
        found.fail("y")
    assert (found.context, current_context(), tick_context(T0)) == ("", "", "")


def test_spans_of_a_tick_are_one_tree_with_a_root_of_known_ids(receiver: Receiver) -> None:
    settings = settings_for(receiver)
    start_tracing(settings, "scraper/x")
    root = tick_context(T0)
    with span("poll", {"cryptoviz.tick_ts": T0}, parent=root) as poll, span("GET", {}) as get:
        assert current_context() == get.context != poll.context
        get.fail("HTTP 500")
    with pytest.raises(ValueError, match="canary"), span("merge", {}, parent=root, links=[poll.context, "", "no context"]):
        raise ValueError("canary")
    written_span("lake commit", {"cryptoviz.first_offset": 5}, get.context, T0 * 1_000_000, [root])
    tick_span(T0, {"cryptoviz.records": 17})
    with span("alone", {}, parent=""):
        pass
    flush_spans(60.0)
    by_name = {one.name: one for one in receiver.spans()}
    trace_id, root_id = root.split("-")[1:3]
    assert {name: one.parent for name, one in by_name.items()} == {
        "tick": "", "alone": "", "poll": root_id, "merge": root_id, "GET": by_name["poll"].id, "lake commit": by_name["GET"].id,
    }  # fmt: skip
    assert {one.trace for name, one in by_name.items() if name != "alone"} == {trace_id} != {by_name["alone"].trace}
    assert (by_name["tick"].id, by_name["tick"].begin) == (root_id, T0 * 1_000_000)
    assert by_name["merge"].links == ((trace_id, by_name["poll"].id),)
    assert by_name["lake commit"].links == ((trace_id, root_id),)
    assert {name: one.failed for name, one in by_name.items() if one.failed is not None} == {"GET": "HTTP 500", "merge": "ValueError"}
    assert (by_name["poll"].attributes, by_name["lake commit"].attributes) == ({"cryptoviz.tick_ts": T0}, {"cryptoviz.first_offset": 5})
    assert {one.service for one in by_name.values()} == {"scraper/x"}
    assert set(receiver.paths) == {"/base/v1/traces"}
    assert {headers["authorization"] for headers in receiver.headers} == {CANARY}


def test_a_text_that_is_no_unicode_costs_no_other_span(receiver: Receiver) -> None:
    """Bodies may escape half of a character, and parsers quote what they refuse."""
    start_tracing(settings_for(receiver), "scraper/x")
    with span("poll", {"cryptoviz.outcome": "a\ud800"}, parent="") as poll:
        poll.fail("b\udcff")
    with span("after", {}, parent=""):
        pass
    flush_spans(60.0)
    assert {one.name: one.failed for one in receiver.spans()} == {"poll": "b\\udcff", "after": None}


def test_the_root_of_a_tick_follows_from_the_pipeline_and_the_tick(receiver: Receiver, tmp_path: Path) -> None:
    found = []
    for home, component in (("one", "collector"), ("one", "scraper/x"), ("two", "collector")):
        end_tracing()
        start_tracing(load_settings(home=tmp_path / home, tracing={"endpoint": receiver.endpoint}), component)
        found.append((tick_context(T0), tick_context(T0 + 1000)))
    assert found[0] == found[1]
    assert len({context for pair in found for context in pair}) == 4
    assert all(is_context(context) for pair in found for context in pair)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("refuses", "HTTP 503"), ("denies", "HTTP 401"), ("redirects", "HTTP 308"), ("silent", "no answer in time"), ("away", "no connection")],
)
def test_a_receiver_that_fails_costs_spans_alone_and_is_reported_once(how: str, reason: str, receiver: Receiver) -> None:
    settings = settings_for(receiver, timeout_s=0.5)
    receiver.status, receiver.silent = {"refuses": 503, "denies": 401, "redirects": 308}.get(how, 200), how == "silent"
    if how == "away":
        settings = settings_for(receiver, endpoint="http://127.0.0.1:9", timeout_s=0.5)
    with log_lines() as lines:
        start_tracing(settings, "collector")
        for _ in range(QUEUE_SPANS + 500):
            with span("poll", {}, parent=tick_context(T0)) as found:
                assert found.context
        eventually(lambda: lines.of("spans_not_sent"))
        flush_spans(0.1)  # the queue is not waited for
        (line,) = lines.of("spans_not_sent")
        assert (line["level"], line["setting"], line["reason"]) == ("warning", "CRYPTOVIZ_TRACING__ENDPOINT", reason)
        if how != "away":
            receiver.status, receiver.silent = 200, False
            receiver.released.set()
            with span("after", {}, parent=tick_context(T0)):
                pass
            eventually(lambda: lines.of("spans_sent_again") and receiver.spans(name="after"))
            # What the queue had no room for is lost: its oldest.
            assert len(receiver.spans()) <= QUEUE_SPANS + 2 * BATCH_SPANS
    assert "canary" not in str([lines.of("spans_not_sent"), lines.of("spans_sent_again")])


def test_an_answer_without_end_is_not_read() -> None:
    ended = threading.Event()

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                for _ in range(4096):
                    connection.sendall(bytes(65_536))
            except OSError:
                ended.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        start_tracing(load_settings(tracing={"endpoint": f"http://127.0.0.1:{server.getsockname()[1]}"}), "collector")
        with span("poll", {}, parent=""):
            pass
        flush_spans(60.0)
        thread.join()
    assert ended.is_set()


def test_requests_share_a_connection(receiver: Receiver) -> None:
    start_tracing(settings_for(receiver), "collector")
    for _ in range(3):
        with span("poll", {}, parent=""):
            pass
        flush_spans(60.0)
    assert (len(receiver.spans()), receiver.connections) == (3, 1)


def test_a_receiver_with_a_certificate_is_verified(tmp_path: Path) -> None:
    signer, stranger = authority(tmp_path, "authority"), authority(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path, "server", signer))
    with otlp_receiver(context) as receiver:
        for trusted, arrives in ((stranger, False), (signer, True)):
            end_tracing()
            start_tracing(settings_for(receiver, ca_file=trusted, timeout_s=30 if arrives else 0.5), "collector")
            with span("poll", {}, parent=""):
                pass
            flush_spans(60.0 if arrives else 5.0)
            assert bool(receiver.spans()) is arrives


def test_variables_of_the_shell_have_no_effect(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, tmp_path: Path) -> None:
    """A cluster that somebody else has started may have the variables of another receiver, with its key."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=canary-of-the-shell,authorization=canary-of-the-shell")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", str(authority(tmp_path, "stranger")))
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0")
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "many")
    signer = authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path, "server", signer))
    with otlp_receiver(context) as secured:
        for one, own in ((receiver, {}), (secured, {"ca_file": signer})):
            end_tracing()
            start_tracing(load_settings(tracing={"endpoint": one.endpoint, "headers": {"X-Own": "1"}, **own}), "collector")
            with span("poll", {"n": 1}, parent=""):
                pass
            flush_spans(60.0)
            assert [found.attributes for found in one.spans()] == [{"n": 1}]
            assert one.headers[0]["x-own"] == "1"
            assert "canary" not in str(one.headers)


def test_spans_of_threads_that_write_at_once_are_all_sent(receiver: Receiver) -> None:
    start_tracing(settings_for(receiver), "collector")

    def write(n: int) -> None:
        for tick in range(50):
            with span("poll", {"n": n}, parent=tick_context(tick)):
                pass
            tick_span(1000 * n + tick, {"n": n})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flush_spans(60.0)
    assert len(receiver.spans()) == 400
    roots = [one for one in receiver.spans() if one.name == "tick"]
    assert {(one.trace, one.id) for one in roots} == {tuple(tick_context(1000 * n + t).split("-")[1:3]) for n in range(4) for t in range(50)}


def test_a_missing_package_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    from cryptoviz import extras

    monkeypatch.setitem(extras.EXTRAS, "tracing", ("no_such_parent.module",))
    with pytest.raises(MissingExtra, match=r"CRYPTOVIZ_TRACING__ENDPOINT needs no_such_parent.module"):
        start_tracing(settings_for(receiver), "collector")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"endpoint": "http://user:secret-1@h:1"}, "user or password"),
        ({"endpoint": "ftp://h:1"}, "ftp"),
        ({"endpoint": "http://h:1?a=b"}, "query"),
        ({"endpoint": "http://h:1", "headers": {"a b": "secret-1"}}, "letters, digits and hyphens"),
        ({"endpoint": "http://h:1", "headers": {"a": "secret-1\nb: c"}}, "visible ASCII"),
        ({"endpoint": "http://h:1", "headers": {"authorization": ["secret-1"]}}, "valid string"),
        ({"endpoint": "http://h:1", "ca_file": "/nowhere"}, "CRYPTOVIZ_TRACING__CA_FILE"),
        ({"timeout_s": 0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_their_secret(own: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(tracing=own)
    assert words in str(refused.value)
    assert "secret-1" not in str(refused.value)


def test_the_headers_are_secrets(receiver: Receiver) -> None:
    settings = settings_for(receiver)
    assert CANARY in settings.secrets
    assert "canary" not in f"{settings!r}{settings}"
