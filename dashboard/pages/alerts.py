"""The alerts page: rules with their states, the form that adds and edits them, and what fired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from cryptoviz.alerts.draft import Known, make_rule
from cryptoviz.alerts.rule import Kind, Rule
from cryptoviz.alerts.store import new_rule_id
from cryptoviz.errors import AlertRefused
from dashboard.page_session import Session
from dashboard.pages.page import Page, PageKind
from dashboard.views.alert_refusals import refusal_text
from dashboard.views.alert_rows import alert_form, alerts_frame, condition_text, draft_of, form_values, history_table, rule_table
from dashboard.views.link import Link
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import texts

__all__ = ["KIND", "AlertsPage"]


class AlertsPage(Page):
    """Verbs: save (fields of the form), kind, new, edit, mute, unmute, remove (id). All but `kind`, `new` and `edit` need the role `operate`."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._t = texts(link.language)
        self._forms = count()
        self._fill({"kind": Kind.PRICE.value, "subject": link.coin})

    def refresh(self) -> None:
        view, t = self.session.app_context.alerts.view(), self._t
        operates = self.session.visitor.operates
        self.out.put("alerts.form", alert_form(self._values, self._assets(), self._components(), t, self._key) if operates else "")
        problem = "" if view.problem is None else state_markup("error" if view.rules else "loading", t("alert_problem"), view.problem)
        elsewhere = "" if view.evaluates or problem else element("p", text(t("alert_elsewhere")), "cv-note cv-bar")
        table = rule_table(view.rules, view.states, view.values, t, operates=operates) if view.rules else ""
        self.out.put("alerts.rules", problem + elsewhere + (table or ("" if problem else state_markup("empty", t("alert_none")))))
        self.out.put("alerts.history", history_table(view.history, t) if view.history else state_markup("empty", t("alert_none_fired")))

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        rule = next((one for one in self.session.app_context.alerts.view().rules if one.rule_id == values.get("id")), None)
        if verb == "kind" and values.get("kind") in tuple(Kind):
            self._fill(values)
        elif verb == "new":
            self._fill({"kind": Kind.PRICE.value})
        elif verb == "edit" and rule is not None:
            self._fill(form_values(rule))
        elif not self.session.visitor.operates:
            self.session.notify("error", self._t("alert_read_only"))
        elif verb == "save":
            self._save(values, rule)
        elif verb in ("mute", "unmute", "remove") and rule is not None:
            self._change(verb, rule)

    def _fill(self, values: Mapping[str, str]) -> None:
        self._values, self._key = dict(values), f"form-{next(self._forms)}"

    def _save(self, values: Mapping[str, str], before: Rule | None) -> None:
        app_context, settings = self.session.app_context, self.session.app_context.settings
        known = Known(settings.assets, settings.collect.tick_ms, settings.collect.disagree_bps, self._components())
        try:
            made = make_rule(draft_of(values), new_rule_id() if before is None else before.rule_id, self.session.now_ms(), known)
        except AlertRefused as error:
            self.session.notify("error", refusal_text(error, self._t))
            return
        if before is None:
            self._store(lambda: app_context.alert_store.add(made), "alert_added", made)
        else:
            self._store(lambda: app_context.alert_store.change(made.rule_id, lambda old: replace(made, muted=old.muted)), "alert_saved", made)

    def _change(self, verb: str, rule: Rule) -> None:
        store = self.session.app_context.alert_store
        if verb == "remove":
            self._store(lambda: store.remove(rule.rule_id), "alert_removed", rule)
        else:
            self._store(lambda: store.change(rule.rule_id, lambda old: replace(old, muted=verb == "mute")), "alert_saved", rule)

    def _store(self, call: Callable[[], object], done: str, rule: Rule) -> None:
        t, feed = self._t, self.session.app_context.alert_feed

        def then(_nothing: object) -> None:
            feed.edited()
            self._fill({"kind": rule.kind, "subject": rule.subject})
            self.session.notify("success", f"{t(done)}: {condition_text(rule, t)}")

        self.session.in_background(call, then, lambda error: self.session.notify("error", f"{t('alert_failed')}: {error}"))

    def _assets(self) -> list[str]:
        return [asset.asset_id for asset in self.session.app_context.settings.assets]

    def _components(self) -> list[str]:
        pipeline, _ = self.session.app_context.control.read()
        return [] if pipeline is None else [component.name for component in pipeline.components]


KIND = PageKind("alerts", "alerts", alerts_frame, AlertsPage)
