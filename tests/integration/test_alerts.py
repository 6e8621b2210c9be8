"""Alert rules, states and queues in a real Redis, and the commands on them."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from pydantic import SecretStr
from typer.testing import CliRunner

from cryptoviz.alerts import store as alert_store
from cryptoviz.alerts.channels import channels_of
from cryptoviz.alerts.evaluate import Evaluation, RuleState, firing_of
from cryptoviz.alerts.rule import Direction, Kind, Rule
from cryptoviz.alerts.store import HISTORY, QUEUE, QUEUE_FULL, AlertStore, Outdated
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.cli.main import app
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState
from cryptoviz.errors import AlertRefused, EngineUnavailable, UnknownAlert
from cryptoviz.settings import Settings
from cryptoviz.settings.alerts import AlertsSettings
from dashboard.alert_state import AlertState
from dashboard.feeds.alert_delivery import AlertDelivery
from dashboard.feeds.alert_feed import AlertFeed
from dashboard.shared_state import ControlState, LiveState, Wakeups
from tests.support.engines import engines, lake_settings
from tests.support.http_server import threaded_server
from tests.support.ports import free_port
from tests.support.records import record

pytestmark = [pytest.mark.integration]

T0 = 1_700_000_000_000
RULE = Rule(
    rule_id="r1", kind=Kind.PRICE, subject="bitcoin", direction=Direction.BELOW, threshold=Decimal("0.10000000000000000001"),
    states=(ComponentState.FAILED,), created_ms=T0, note="é",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    found = lake_settings(tmp_path_factory.mktemp("alerts"))
    with engines(found, "redis"):
        yield found


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[AlertStore]:
    """Waits for a busy machine's Redis; no claim expires during a test."""
    monkeypatch.setattr(alert_store, "_TIMEOUT_S", 60.0)
    monkeypatch.setattr(alert_store, "_EXPIRES_MS", 600_000)
    made = AlertStore(settings)
    yield made
    made.close()
    with redis.Redis.from_url(**settings.redis.connection(60)) as client:
        for key in client.scan_iter("cryptoviz:alerts:*"):
            client.delete(key)


def result(count: int = 1, rule: Rule = RULE, at_ms: int = T0) -> Evaluation:
    firings = [firing_of(rule, "bitcoin", "0.1", at_ms + number) for number in range(count)]
    return Evaluation({"r1": RuleState(at_ms, at_ms, ("bitcoin",))}, firings, {"bitcoin": at_ms})


def test_a_rule_comes_back_exactly(store: AlertStore) -> None:
    store.add(RULE)
    assert store.rules() == [RULE]
    with pytest.raises(AlertRefused, match="the id 'r1' is in use"):
        store.add(RULE)
    with pytest.raises(UnknownAlert, match="no alert rule 'r2'"):
        store.remove("r2")


def test_an_evaluation_is_stored_as_a_whole_by_the_evaluator_only(store: AlertStore, settings: Settings) -> None:
    store.add(RULE)
    other = AlertStore(settings)
    assert store.claim("old", take_over=True)
    revision = store.revision()
    assert other.claim("new", take_over=True)
    assert not store.claim("old", take_over=False)
    with pytest.raises(Outdated):
        store.commit("old", revision, result(), ("webhook",))
    assert store.history() == []
    stored = other.commit("new", revision, result(), ("webhook",))
    assert [firing.deliveries for firing in stored] == [{"webhook": "waiting"}]
    loaded = store.load()
    assert (loaded.states, loaded.seen) == ({"r1": RuleState(T0, T0, ("bitcoin",))}, {"bitcoin": T0})
    assert store.history() == stored
    other.release("new")
    assert store.claim("old", take_over=False)
    other.close()


def test_an_edit_between_reading_and_storing_is_noticed(store: AlertStore) -> None:
    store.add(RULE)
    store.claim("me", take_over=True)
    revision = store.load().revision
    store.change("r1", lambda rule: replace(rule, threshold=Decimal(7)))
    with pytest.raises(Outdated):
        store.commit("me", revision, result(), ())


def test_an_edit_begins_a_rule_again_and_muting_does_not(store: AlertStore) -> None:
    store.add(RULE)
    store.claim("me", take_over=True)
    store.commit("me", store.revision(), result(), ())
    assert store.change("r1", lambda rule: replace(rule, muted=True)).muted
    assert store.load().states["r1"].active_since_ms == T0
    store.change("r1", lambda rule: replace(rule, threshold=Decimal(7)))
    assert store.load().states == {}
    store.remove("r1")
    assert store.load().rules == ()
    assert len(store.history()) == 1


def test_queue_and_history_are_bounded_and_a_full_queue_is_reported(store: AlertStore) -> None:
    store.claim("me", take_over=True)
    for start in range(0, HISTORY + 100, 60):
        store.commit("me", 0, result(60, at_ms=T0 + start), ("mail",))
    history = store.history(1_000)
    assert len(history) == HISTORY
    assert history[0].deliveries == {"mail": QUEUE_FULL}
    delivered = []
    while (firing := store.next_delivery("mail")) is not None:
        store.note_delivery("mail", firing.firing_id, "sent", done=True)
        delivered.append(firing.at_ms)
    assert delivered == sorted(delivered)
    assert 0 < len(delivered) <= QUEUE
    muted = store.commit("me", 0, result(rule=replace(RULE, muted=True), at_ms=T0 + 10_000), ("mail",))
    assert muted[0].deliveries == {}
    assert store.next_delivery("mail") is None


def test_results_of_deliveries_are_in_the_history(store: AlertStore) -> None:
    store.claim("me", take_over=True)
    (firing,) = store.commit("me", 0, result(), ("webhook", "mail"))
    store.note_delivery("webhook", firing.firing_id, "retried: 503", done=False)
    assert store.next_delivery("webhook") is not None
    store.note_delivery("webhook", firing.firing_id, "sent", done=True)
    assert store.history()[0].deliveries == {"webhook": "sent", "mail": "waiting"}


def test_without_redis_the_error_names_address_and_setting(settings: Settings) -> None:
    away = settings.model_copy(update={"redis": type(settings.redis)(url=f"redis://:canary-9@127.0.0.1:{free_port()}/0")})
    with pytest.raises(EngineUnavailable, match="CRYPTOVIZ_REDIS__URL") as error:
        AlertStore(away).rules()
    assert "canary-9" not in error.value.message


def test_from_a_tick_to_the_webhook_once_over_a_restart(store: AlertStore, settings: Settings) -> None:
    """The threads' steps of a dashboard, with the real store and a real receiver; the second dashboard reads the same ticks again."""
    store.add(replace(RULE, threshold=Decimal(100)))
    received: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["value"])
            self.send_response(204)
            self.end_headers()

    with threaded_server(Receiver) as port:
        own = settings.model_copy(update={"alerts": AlertsSettings(webhook_url=SecretStr(f"http://127.0.0.1:{port}/hook"))})
        for more in ((), ((3, 101.0), (4, 99.5))):
            live, control, clock = LiveState(Wakeups()), ControlState(Wakeups()), SystemClock()
            feed = AlertFeed(own, store, live, control, AlertState(Wakeups()), clock, ("webhook",))
            (channel,) = channels_of(own, clock)
            ticks = [(1, 101.0), (2, 99.0), *more]
            live.apply([record(T0 + number * own.collect.tick_ms, DEFAULT_ASSETS[0], price=price) for number, price in ticks])
            feed.step()
            AlertDelivery(store, channel, feed.is_evaluator, clock).step()
    assert received == ["99", "99.5"]
    assert [firing.deliveries for firing in store.history()] == [{"webhook": "sent"}] * 2


@pytest.fixture
def commands(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings in the environment, as a command reads them."""
    for name, value in {"HOME": settings.home, "REDIS__PORT": settings.redis.port}.items():
        monkeypatch.setenv(f"CRYPTOVIZ_{name}", str(value))
    if not settings.redis.embedded:
        monkeypatch.setenv("CRYPTOVIZ_REDIS__URL", str(settings.redis.url))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("commands")
def test_the_commands(store: AlertStore) -> None:
    def answer(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["alerts", *arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    added = answer("add", "price", "btc", "--below", "50000.10", "--cool-down", "10m", "--note", "buy")
    assert (added["condition"], added["threshold"], added["cool_down_s"]) == ("bitcoin price below 50000.1 USD", "50000.10", 600)
    assert answer("mute", added["id"]) == {"id": added["id"], "muted": True}
    (listed,) = answer("list")["alerts"]
    assert listed == added | {"muted": True, "state": "armed, muted"}
    store.claim("me", take_over=True)
    store.commit("me", store.revision(), Evaluation(firings=[firing_of(store.rules()[0], "bitcoin", "50000", T0)]), ())
    (fired,) = answer("history", "-n", "1")["firings"]
    assert (fired["alert"], fired["value"], fired["unit"], fired["time"]) == (added["id"], "50000", "USD", "2023-11-14T22:13:20.000Z")
    assert answer("remove", added["id"]) == {"id": added["id"], "removed": True}
    assert answer("list") == {"alerts": []}
    table = CliRunner().invoke(app, ["alerts", "history"])
    assert "bitcoin price below 50000.1 USD" in table.stdout


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted in `got`, and answers with `status`."""

    got: ClassVar[list[dict[str, Any]]] = []
    status: ClassVar[int] = 204

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()


class Mailbox:
    """Handler of a mail server: keeps the messages."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        del server, session
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content or b"", policy=email.policy.default)))  # type: ignore[arg-type]
        return "250 taken"


@pytest.mark.usefixtures("commands")
def test_a_test_message_reaches_webhook_and_mail_from_the_command(store: AlertStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hook, "got", [])
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port(), ready_timeout=60.0)
    server.start()

    def run(*arguments: str) -> tuple[int, dict[str, str], str]:
        done = CliRunner().invoke(app, ["alerts", "test", *arguments, "--json"])
        return done.exit_code, json.loads(done.stdout)["deliveries"] if done.stdout else {}, str(done.exception or "")

    try:
        with threaded_server(Hook) as port:
            own = {
                "WEBHOOK_URL": f"http://127.0.0.1:{port}/hook", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": server.port, "SMTP_SECURITY": "none",
                "MAIL_FROM": "cryptoviz@example.org", "MAIL_TO": "ops@example.org",
            }  # fmt: skip
            for name, value in own.items():
                monkeypatch.setenv(f"CRYPTOVIZ_ALERTS__{name}", str(value))
            store.add(RULE)
            assert run("r1")[:2] == (0, {"webhook": "sent", "mail": "sent"})
            (posted,) = Hook.got
            ((receivers, mail),) = mailbox.mails
            assert (posted["alert"], posted["note"]) == ("r1", "This is a test: nothing has happened.")
            assert receivers == ["ops@example.org"]
            assert posted["condition"] in mail["subject"]
            assert "nothing has happened" in mail.get_content()
            assert store.history() == [], "a test is no firing"
            monkeypatch.setattr(Hook, "status", 503)
            code, said, _ = run()
            assert (code, said["mail"]) == (1, "sent")
            assert "answered 503" in said["webhook"]
    finally:
        server.stop()
    code, said, _ = run()
    assert code == 1
    assert "cannot be reached" in said["webhook"]
    assert said["mail"] != "sent"
    for name in own:
        monkeypatch.delenv(f"CRYPTOVIZ_ALERTS__{name}")
    code, said, error = run()
    assert (code != 0, said) == (True, {})
    assert "CRYPTOVIZ_ALERTS__WEBHOOK_URL" in error
