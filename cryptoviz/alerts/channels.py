"""Receivers of firings: a webhook and a mail server. Each attempt has a total deadline; what the receiver answers beyond its status is not read.

A message may arrive twice after a crash between its sending and its record: it then has the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import urlsplit

import orjson

from cryptoviz.alerts.evaluate import Firing
from cryptoviz.alerts.rule import describe
from cryptoviz.clock import Clock
from cryptoviz.errors import DeliveryFailed, DeliveryRefused
from cryptoviz.security.tls import trust
from cryptoviz.settings import Settings
from cryptoviz.times import iso_ms, utc

__all__ = ["DEADLINE_S", "MAIL", "WEBHOOK", "Channel", "MailChannel", "WebhookChannel", "channels_of", "headline"]

WEBHOOK, MAIL = "webhook", "mail"
DEADLINE_S = 10.0
"""Of an attempt, from the connection to the answer's status."""
_TRANSIENT = frozenset({408, 425, 429})
_LAST_SUCCESS, _FIRST_SERVER_ERROR, _FIRST_REFUSAL = 299, 500, 500
_SMTP_READY = 220
_LONGEST_HEADLINE = 200


class Channel(Protocol):
    """A receiver. `name` is that of its queue in the store."""

    @property
    def name(self) -> str: ...

    def send(self, firing: Firing) -> None:
        """Deliver a firing; blocks for at most `DEADLINE_S`.

        Raises:
            DeliveryFailed: no answer, or one that may be different later.
            DeliveryRefused: the receiver will never take this message.
        """


def channels_of(settings: Settings, clock: Clock) -> tuple[Channel, ...]:
    """The receivers that the settings name."""
    alerts = settings.alerts
    webhook = [WebhookChannel(settings)] if alerts.webhook_url else []
    return (*webhook, *([MailChannel(settings, clock)] if alerts.smtp_host else []))


def headline(firing: Firing) -> str:
    """A firing in one line of English, whatever line breaks names have: mail refuses them in a header."""
    rule, others = firing.rule, f" and {firing.others} more" if firing.others else ""
    text = f"{describe(rule)}: {firing.subject}{others} {firing.value} {rule.unit}"
    return " ".join(text.split())[:_LONGEST_HEADLINE]


class WebhookChannel:
    """Posts JSON. `text` alone is what the incoming webhooks of chat services show."""

    name = WEBHOOK

    def __init__(self, settings: Settings, deadline_s: float = DEADLINE_S) -> None:
        url, token = settings.alerts.webhook_url, settings.alerts.webhook_token
        self._url = url.get_secret_value() if url else ""
        self._token = token.get_secret_value() if token else ""
        self._network, self._deadline_s = settings.network, deadline_s
        parts = urlsplit(self._url)
        self._shown = f"{parts.scheme}://{parts.hostname}"

    def send(self, firing: Firing) -> None:
        status = asyncio.run(self._post(_document(firing), firing.firing_id))
        text = f"the webhook at {self._shown} answered {status}"
        if status in _TRANSIENT or status >= _FIRST_SERVER_ERROR:
            raise DeliveryFailed(text, channel=WEBHOOK, status=status)
        if not 200 <= status <= _LAST_SUCCESS:
            raise DeliveryRefused(
                f"{text}: check CRYPTOVIZ_ALERTS__WEBHOOK_URL and _TOKEN; redirects are not followed", channel=WEBHOOK, status=status
            )

    async def _post(self, body: bytes, firing_id: str) -> int:
        import httpx  # takes a tenth of a second to import, and most processes send nothing

        headers = {"user-agent": "cryptoviz", "content-type": "application/json", "idempotency-key": firing_id}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        proxy, verify = self._network.proxy_for(self._url), trust(self._network.ca_file)
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=self._deadline_s, proxy=proxy, verify=verify) as client,
                client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                return response.status_code
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed(f"did not answer within {self._deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # their texts may contain the address
            raise self._failed(f"cannot be reached: {type(error).__name__}") from None

    def _failed(self, what: str) -> DeliveryFailed:
        return DeliveryFailed(f"the webhook at {self._shown} {what} (CRYPTOVIZ_ALERTS__WEBHOOK_URL)", channel=WEBHOOK)


class MailChannel:
    """Sends plain-text mail over SMTP, encrypted unless the settings say otherwise."""

    name = MAIL

    def __init__(self, settings: Settings, clock: Clock, deadline_s: float = DEADLINE_S) -> None:
        self._alerts, self._network, self._clock, self._deadline_s = settings.alerts, settings.network, clock, deadline_s

    def send(self, firing: Firing) -> None:
        alerts = self._alerts
        try:
            with self._connection() as smtp:
                if alerts.smtp_security == "starttls":
                    smtp.starttls(context=trust(self._network.ca_file))
                if alerts.smtp_user and alerts.smtp_password:
                    smtp.login(alerts.smtp_user, alerts.smtp_password.get_secret_value())
                smtp.send_message(self._message(firing))
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _ in error.recipients.values())
            raise self._error(code, "refused all recipients", "CRYPTOVIZ_ALERTS__MAIL_TO") from None
        except smtplib.SMTPResponseException as error:
            setting = "CRYPTOVIZ_ALERTS__SMTP_PASSWORD" if isinstance(error, smtplib.SMTPAuthenticationError) else "CRYPTOVIZ_ALERTS__SMTP_HOST"
            raise self._error(error.smtp_code, f"answered {error.smtp_code}", setting) from None
        except smtplib.SMTPNotSupportedError:
            raise self._error(_FIRST_REFUSAL, "does not offer what is configured", "CRYPTOVIZ_ALERTS__SMTP_SECURITY") from None
        except (smtplib.SMTPException, OSError) as error:
            raise self._error(0, f"cannot be reached: {type(error).__name__}", "CRYPTOVIZ_ALERTS__SMTP_HOST") from None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        """A connection that is cut at the deadline, since the library's timeout is of each operation."""
        alerts, own_name = self._alerts, self._alerts.mail_from.rpartition("@")[2]
        if alerts.smtp_security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(local_hostname=own_name, timeout=self._deadline_s, context=trust(self._network.ca_file))
        else:
            smtp = smtplib.SMTP(local_hostname=own_name, timeout=self._deadline_s)
        # Set by the constructor only if that also connects; it is the name that the certificate is compared with.
        smtp._host = alerts.smtp_host  # type: ignore[attr-defined]
        timer = threading.Timer(self._deadline_s, lambda: _cut(smtp))
        timer.daemon = True
        timer.start()
        try:
            code, _ = smtp.connect(alerts.smtp_host, alerts.smtp_port)
            if code != _SMTP_READY:
                raise smtplib.SMTPConnectError(code, b"")
            yield smtp
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()  # the message is accepted already
        finally:
            timer.cancel()
            smtp.close()

    def _message(self, firing: Firing) -> EmailMessage:
        message, alerts = EmailMessage(), self._alerts
        message["From"], message["To"] = alerts.mail_from, ", ".join(alerts.mail_to)
        message["Subject"] = f"CryptoViz alert: {headline(firing)}"
        message["Date"] = format_datetime(utc(self._clock.now_ms()))
        message["Message-ID"] = f"<{firing.firing_id}@{alerts.mail_from.rpartition('@')[2]}>"
        note = f"\n{firing.rule.note}\n" if firing.rule.note else ""
        message.set_content(f"{headline(firing)}\n{note}\nTime: {iso_ms(firing.at_ms)}\nAlert: {firing.rule.rule_id}\n")
        return message

    def _error(self, code: int, what: str, setting: str) -> DeliveryFailed | DeliveryRefused:
        text = f"the mail server {self._alerts.smtp_host}:{self._alerts.smtp_port} {what} ({setting})"
        if code >= _FIRST_REFUSAL:
            return DeliveryRefused(text, channel=MAIL, status=code)
        return DeliveryFailed(text, channel=MAIL, status=code)


def _cut(smtp: smtplib.SMTP) -> None:
    sock: socket.socket | ssl.SSLSocket | None = smtp.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _document(firing: Firing) -> bytes:
    rule = firing.rule
    return orjson.dumps(
        {
            "text": headline(firing), "id": firing.firing_id, "time": iso_ms(firing.at_ms), "alert": rule.rule_id, "condition": describe(rule),
            "kind": rule.kind, "subject": firing.subject, "others": firing.others, "value": firing.value, "threshold": str(rule.threshold),
            "unit": rule.unit, "note": rule.note,
        }
    )  # fmt: skip
