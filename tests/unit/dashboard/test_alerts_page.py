"""The Alerts page's verbs: what reaches the store, by role, and what is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from cryptoviz.alerts.rule import Kind, Rule
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import load_settings
from dashboard.alert_state import AlertState, AlertView
from dashboard.outbox import Outbox
from dashboard.page_session import Session
from dashboard.pages.alerts import AlertsPage
from dashboard.shared_state import ControlState, Wakeups
from dashboard.views.link import Link
from tests.unit.dashboard.records import NOW_MS

RULE = Rule(rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal(100), created_ms=1)


class Store:
    """Keeps what the page asks for."""

    def __init__(self) -> None:
        self.rules = {"r1": RULE}
        self.away = False

    def add(self, rule: Rule) -> None:
        if self.away:
            raise EngineUnavailable("Redis does not answer", engine="redis")
        self.rules[rule.rule_id] = rule

    def change(self, rule_id: str, change: Callable[[Rule], Rule]) -> Rule:
        self.rules[rule_id] = change(self.rules[rule_id])
        return self.rules[rule_id]

    def remove(self, rule_id: str) -> Rule:
        return self.rules.pop(rule_id)


class Visit:
    """A page of a visitor, whose background work runs at once."""

    def __init__(self, *, operates: bool, language: str = "en") -> None:
        self.store, self.notices, self.edits = Store(), list[tuple[str, str]](), list[int]()
        alerts = AlertState(Wakeups())
        alerts.set_view(AlertView((RULE,), problem=None))
        self.out = Outbox()
        context = SimpleNamespace(
            settings=load_settings(), alerts=alerts, alert_store=self.store, control=ControlState(Wakeups()),
            alert_feed=SimpleNamespace(edited=lambda: self.edits.append(1)),
        )  # fmt: skip
        session = SimpleNamespace(
            app_context=context, out=self.out, visitor=SimpleNamespace(operates=operates), now_ms=lambda: NOW_MS,
            notify=lambda kind, text: self.notices.append((kind, text)), in_background=self._at_once,
        )  # fmt: skip
        self.page = AlertsPage(cast("Session", session), Link("bitcoin", "1m", "alerts", language))

    def _at_once(self, work: Callable[[], Any], then: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        try:
            result = work()
        except EngineUnavailable as error:
            failed(error)
        else:
            then(result)

    def parts(self) -> dict[str, str]:
        self.page.refresh()
        return self.out.take()[0]


def test_a_new_rule_reaches_the_store_and_the_evaluator() -> None:
    visit = Visit(operates=True)
    visit.page.act("save", {"id": "", "kind": "price", "subject": "ethereum", "side": "below", "threshold": "2500.5", "cool_down": "1h"})
    (made,) = (rule for rule in visit.store.rules.values() if rule != RULE)
    assert (made.subject, made.direction, made.threshold, made.cool_down_s, made.created_ms) == (
        "ethereum",
        "below",
        Decimal("2500.5"),
        3_600,
        NOW_MS,
    )
    assert visit.edits == [1]
    assert visit.notices == [("success", "Added: ethereum · price ≤ 2500.5 USD")]


def test_a_bad_value_is_refused_with_what_is_valid_and_keeps_the_form() -> None:
    visit = Visit(operates=True)
    before = visit.parts()["alerts.form"]
    visit.page.act("save", {"kind": "price", "subject": "ethereum", "side": "above", "threshold": "much"})
    assert visit.notices == [("error", "above is 'much': valid is a price above 0, such as 100000 or 0.25")]
    assert "alerts.form" not in visit.parts()
    assert before
    visit.store.away = True
    visit.page.act("save", {"kind": "price", "subject": "ethereum", "side": "above", "threshold": "1"})
    assert visit.notices[-1] == ("error", "Not changed: Redis does not answer")


def test_editing_keeps_id_and_mute() -> None:
    visit = Visit(operates=True)
    visit.store.rules["r1"] = replace(RULE, muted=True)
    visit.page.act("edit", {"id": "r1"})
    form = visit.parts()["alerts.form"]
    assert 'data-id="r1"' in form
    assert 'value="100"' in form
    visit.page.act("save", {"id": "r1", "kind": "price", "subject": "bitcoin", "side": "above", "threshold": "200"})
    assert visit.store.rules["r1"].threshold == 200
    assert visit.store.rules["r1"].muted


def test_mute_unmute_remove() -> None:
    visit = Visit(operates=True, language="fr")
    visit.page.act("mute", {"id": "r1"})
    assert visit.store.rules["r1"].muted
    visit.page.act("unmute", {"id": "r1"})
    assert not visit.store.rules["r1"].muted
    visit.page.act("remove", {"id": "nothing"})
    visit.page.act("remove", {"id": "r1"})
    assert visit.store.rules == {}
    assert visit.notices[-1] == ("success", "Supprimée: bitcoin · prix ≥ 100 USD")


def test_the_role_read_sees_and_changes_nothing_whatever_the_browser_sends() -> None:
    visit = Visit(operates=False)
    parts = visit.parts()
    assert "bitcoin · price ≥ 100 USD" in parts["alerts.rules"]
    assert parts["alerts.form"] == ""
    for verb in ("save", "mute", "remove"):
        visit.page.act(verb, {"id": "r1", "kind": "price", "subject": "bitcoin", "side": "above", "threshold": "1"})
    assert visit.store.rules == {"r1": RULE}
    assert visit.notices == [("error", "Your role is read")] * 3


def test_a_kind_that_is_none_changes_no_form() -> None:
    visit = Visit(operates=True)
    before = visit.parts()["alerts.form"]
    visit.page.act("kind", {"kind": "<script>"})
    visit.page.act("edit", {"id": "<script>"})
    assert "alerts.form" not in visit.parts()
    visit.page.act("kind", {"kind": "component"})
    assert 'name="state"' in visit.parts()["alerts.form"]
    assert 'name="state"' not in before
