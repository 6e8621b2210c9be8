"""Webhook and mail against real servers on loopback: content, encryption, deadlines, and which failures are repeated."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from cryptoviz.alerts.channels import MailChannel, WebhookChannel, channels_of, headline
from cryptoviz.alerts.evaluate import Firing, firing_of
from cryptoviz.alerts.rule import Kind, Rule
from cryptoviz.clock import SystemClock
from cryptoviz.errors import CryptoVizError, DeliveryFailed, DeliveryRefused
from cryptoviz.settings import Settings, load_settings
from tests.support.certificates import authority, certificate
from tests.support.http_server import threaded_server
from tests.support.ports import free_port

T0 = 1_700_000_000_000
RULE = Rule(rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal("100000.0"), note="buy <b>", created_ms=T0)
FIRING = firing_of(RULE, "bitcoin", "100000.5", T0)
SECRET = "canary-webhook-path-9f"


@dataclass
class Posts:
    """What a web server received; it answers with `status`."""

    status: int = 204
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def posts() -> Iterator[Posts]:
    got = Posts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            self.send_response(got.status)
            self.send_header("location", f"http://127.0.0.1:{got.port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

    with threaded_server(Handler) as port:
        got.port = port
        yield got


def hook(port: int, deadline_s: float = 5.0, **alerts: Any) -> WebhookChannel:
    return WebhookChannel(load_settings(alerts={"webhook_url": f"http://127.0.0.1:{port}/{SECRET}?a=b", **alerts}), deadline_s)


def error_of(channel: WebhookChannel | MailChannel, firing: Firing = FIRING) -> CryptoVizError:
    with pytest.raises((DeliveryFailed, DeliveryRefused)) as caught:
        channel.send(firing)
    return caught.value


def test_a_firing_is_posted_as_json_with_its_id(posts: Posts) -> None:
    hook(posts.port, webhook_token="canary-token-3").send(FIRING)
    ((path, headers, document),) = posts.requests
    assert path == f"/{SECRET}?a=b"
    assert (headers["authorization"], headers["idempotency-key"]) == ("Bearer canary-token-3", FIRING.firing_id)
    assert document == {
        "text": "bitcoin price above 100000 USD: bitcoin 100000.5 USD", "id": FIRING.firing_id, "time": "2023-11-14T22:13:20.000Z", "alert": "r1",
        "condition": "bitcoin price above 100000 USD", "kind": "price", "subject": "bitcoin", "others": 0, "value": "100000.5",
        "threshold": "100000.0", "unit": "USD", "note": "buy <b>",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, DeliveryFailed) for status in (500, 503, 429)),
        *((status, DeliveryRefused) for status in (401, 404, 302)),
    ],
)
def test_only_answers_that_may_change_are_repeated(posts: Posts, status: int, kind: type[CryptoVizError]) -> None:
    posts.status = status
    error = error_of(hook(posts.port))
    assert type(error) is kind
    assert f"the webhook at http://127.0.0.1 answered {status}" in error.message
    assert SECRET not in repr(vars(error))
    assert len(posts.requests) == 1  # a redirect is not followed


def test_a_webhook_that_is_not_there_or_drips_ends_at_the_deadline() -> None:
    assert "cannot be reached: ConnectError" in error_of(hook(free_port())).message
    with dripping(b"HTTP/1.1 200 OK\r\nx: ") as port:
        assert error_of(hook(port, deadline_s=0.3)).message == (
            "the webhook at http://127.0.0.1 did not answer within 0.3 s (CRYPTOVIZ_ALERTS__WEBHOOK_URL)"
        )


@dataclass
class Inbox:
    """What a mail server received; `answer` is that to DATA. Attributes of the handler that aiosmtpd calls."""

    answer: str = "250 OK"
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Envelope
    ) -> str:
        del server, session
        assert isinstance(envelope.content, bytes)
        self.mails.append((str(envelope.mail_from), envelope.rcpt_tos, envelope.content))
        return self.answer


@contextmanager
def mail_server(inbox: Inbox, **options: Any) -> Iterator[int]:
    port = free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def mail(port: int, deadline_s: float = 5.0, ca_file: Path | None = None, **alerts: Any) -> MailChannel:
    values = {"smtp_host": "localhost", "smtp_port": port, "mail_from": "viz@example.org", "mail_to": ["a@example.org", "b@example.org"]}
    return MailChannel(load_settings(alerts=values | alerts, network={"ca_file": ca_file}), SystemClock(), deadline_s)


def test_a_mail_has_the_firing_its_id_and_its_note() -> None:
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, smtp_security="none").send(FIRING)
    ((sender, receivers, content),) = inbox.mails
    assert (sender, receivers) == ("viz@example.org", ["a@example.org", "b@example.org"])
    message = email.message_from_bytes(content)
    assert message["Subject"] == "CryptoViz alert: bitcoin price above 100000 USD: bitcoin 100000.5 USD"
    assert message["Message-ID"] == f"<{FIRING.firing_id}@example.org>"
    assert "buy <b>" in message.get_payload()
    assert "Time: 2023-11-14T22:13:20.000Z" in message.get_payload()


def test_a_password_is_sent_over_starttls_to_the_server_of_the_certificate_only(tmp_path: Path) -> None:
    issuer = authority(tmp_path, "mail")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path, "server", issuer))
    tried = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        tried.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    inbox = Inbox()
    with mail_server(inbox, tls_context=context, require_starttls=True, authenticator=check, auth_required=True) as port:
        mail(port, ca_file=issuer, smtp_user="viz", smtp_password="right").send(FIRING)
        assert len(inbox.mails) == 1
        wrong = error_of(mail(port, ca_file=issuer, smtp_user="viz", smtp_password="canary-wrong-5"))
        assert isinstance(wrong, DeliveryRefused)
        assert wrong.message == f"the mail server localhost:{port} answered 535 (CRYPTOVIZ_ALERTS__SMTP_PASSWORD)"
        before = len(tried)
        untrusted = error_of(mail(port, smtp_user="viz", smtp_password="right"))
        assert "cannot be reached: SSLCertVerificationError" in untrusted.message
        assert len(tried) == before


@pytest.mark.parametrize(("answer", "kind"), [("451 later", DeliveryFailed), ("554 no", DeliveryRefused)])
def test_only_answers_of_a_mail_server_that_may_change_are_repeated(answer: str, kind: type[CryptoVizError]) -> None:
    with mail_server(Inbox(answer)) as port:
        error = error_of(mail(port, smtp_security="none"))
    assert type(error) is kind
    assert f"answered {answer[:3]} (CRYPTOVIZ_ALERTS__SMTP_HOST)" in error.message


def test_a_mail_server_that_drips_is_cut_at_the_deadline() -> None:
    begun = time.monotonic()
    with dripping(b"220 ") as port:
        error = error_of(mail(port, deadline_s=0.3, smtp_security="none"))
    assert isinstance(error, DeliveryFailed)
    assert time.monotonic() - begun < 60  # a drip would last for minutes
    assert isinstance(error_of(mail(free_port(), smtp_security="none")), DeliveryFailed)
    with mail_server(Inbox()) as port:
        assert "CRYPTOVIZ_ALERTS__SMTP_SECURITY" in error_of(mail(port)).message  # offers no TLS


def test_a_line_break_in_external_text_adds_no_header() -> None:
    rule = Rule(rule_id="r1", kind=Kind.COMPONENT, subject="all")
    firing = firing_of(rule, "lake\r\nBcc: victim@example.org", "FAILED", T0)
    inbox = Inbox()
    with mail_server(inbox) as port:
        mail(port, smtp_security="none").send(firing)
    message = email.message_from_bytes(inbox.mails[0][2], policy=email.policy.default)
    assert message["Bcc"] is None
    assert message["Subject"].strip() == "CryptoViz alert: component all is : lake Bcc: victim@example.org FAILED"


def test_the_settings_choose_the_channels() -> None:
    assert names(load_settings()) == []
    assert names(load_settings(alerts={"webhook_url": "https://hooks.example/x"})) == ["webhook"]
    both = {"webhook_url": "https://hooks.example/x", "smtp_host": "mail", "mail_from": "a@b", "mail_to": ["c@d", "e@f"]}
    assert names(load_settings(alerts=both)) == ["webhook", "mail"]


def names(settings: Settings) -> list[str]:
    return [channel.name for channel in channels_of(settings, SystemClock())]


def test_a_headline_names_the_first_and_counts_the_others() -> None:
    rule = Rule(rule_id="r1", kind=Kind.STALENESS, subject="all", threshold=Decimal(120))
    assert headline(firing_of(rule, "ripple", "120.5", T0, 3)) == "all staleness above 120 s: ripple and 3 more 120.5 s"


@contextmanager
def dripping(first: bytes) -> Iterator[int]:
    """Port of a server that sends a letter every 20 ms, so that no single read takes long."""
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(first)
                while not stop.wait(0.02):
                    connection.sendall(b"x")
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
    thread.join(60)
