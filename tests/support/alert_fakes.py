"""An alert store in memory, with the contract of `cryptoviz.alerts.store.AlertStore`."""

from __future__ import annotations

from dataclasses import replace

from cryptoviz.alerts.evaluate import Evaluation, Firing, RuleState
from cryptoviz.alerts.rule import Rule
from cryptoviz.alerts.store import Loaded, Outdated
from cryptoviz.errors import EngineUnavailable

__all__ = ["FakeAlertStore"]


class FakeAlertStore:
    """`away`: every call raises. Claims do not expire."""

    def __init__(self, *rules: Rule) -> None:
        self.rules_by_id = {rule.rule_id: rule for rule in rules}
        self.states: dict[str, RuleState] = {}
        self.seen: dict[str, int] = {}
        self.fired: list[Firing] = []
        self.results: dict[tuple[str, str], str] = {}
        self.queues: dict[str, list[Firing]] = {}
        self.holder = ""
        self.edits = 0
        self.away = False

    def edit(self, *rules: Rule) -> None:
        self.rules_by_id |= {rule.rule_id: rule for rule in rules}
        self.edits += 1

    def load(self) -> Loaded:
        self._reach()
        return Loaded(self.edits, tuple(self.rules_by_id.values()), dict(self.states), dict(self.seen))

    def revision(self) -> int:
        self._reach()
        return self.edits

    def claim(self, token: str, *, take_over: bool) -> bool:
        self._reach()
        self.holder = token if take_over or not self.holder else self.holder
        return self.holder == token

    def release(self, token: str) -> None:
        self._reach()
        self.holder = "" if self.holder == token else self.holder

    def commit(self, token: str, revision: int, result: Evaluation, channels: tuple[str, ...]) -> list[Firing]:
        self._reach()
        if self.holder != token or revision != self.edits:
            raise Outdated
        self.states |= result.states
        self.seen |= result.seen
        stored = [replace(firing, deliveries=dict.fromkeys(channels, "waiting")) for firing in result.firings]
        self.fired += stored
        for channel in channels:
            self.queues.setdefault(channel, []).extend(stored)
        return stored

    def history(self, count: int = 500) -> list[Firing]:
        self._reach()
        return self.fired[::-1][:count]

    def next_delivery(self, channel: str) -> Firing | None:
        self._reach()
        return next(iter(self.queues.get(channel, ())), None)

    def note_delivery(self, channel: str, firing_id: str, result: str, *, done: bool) -> None:
        self._reach()
        self.results[channel, firing_id] = result
        if done:
            self.queues[channel] = [firing for firing in self.queues[channel] if firing.firing_id != firing_id]

    def _reach(self) -> None:
        if self.away:
            raise EngineUnavailable("Redis does not answer", engine="redis")
