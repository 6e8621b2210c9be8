"""Alert rules, their states, firings and deliveries in Redis.

What an evaluation changes is stored in one transaction, only while its evaluator is the pipeline's and the rules are those that it evaluated: a
restart or a second evaluator never fires twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import redis

from cryptoviz.alerts.evaluate import Evaluation, Firing, RuleState
from cryptoviz.alerts.rule import Rule
from cryptoviz.alerts.stored import decode, encode, integers
from cryptoviz.errors import AlertRefused, EngineUnavailable, UnknownAlert
from cryptoviz.masking import mask_url
from cryptoviz.nearest import did_you_mean
from cryptoviz.redis_keys import ALERTS_KEY
from cryptoviz.settings import Settings

__all__ = ["HISTORY", "QUEUE", "RULES", "AlertStore", "Loaded", "Outdated", "new_rule_id"]

RULES, HISTORY, QUEUE = 200, 500, 200
"""Maximum number of rules, of firings that are kept, and of messages that wait for a channel."""
QUEUE_FULL = f"dropped: {QUEUE} messages wait"
_EXPIRES_MS = 15_000
"""Of the evaluator's claim, which it renews every few seconds."""
_TIMEOUT_S = 2.0
_SLACK = 50
"""The history is cut when it is longer than its bound by so many."""


class Outdated(Exception):
    """An evaluation is of rules that have been edited since, or of an evaluator that has been superseded: nothing was stored."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an evaluator continues from. `revision` changes with each edit of a rule."""

    revision: int
    rules: tuple[Rule, ...]
    states: Mapping[str, RuleState]
    seen: Mapping[str, int]


def new_rule_id() -> str:
    """Six hex digits, which no other of 200 rules has with high probability; `put` refuses one that exists."""
    return secrets.token_hex(3)


class AlertStore:
    """Thread-safe. All methods raise EngineUnavailable if Redis does not answer within 2 s."""

    def __init__(self, settings: Settings) -> None:
        self._client: Any = redis.Redis.from_url(**settings.redis.connection(_TIMEOUT_S), decode_responses=True)
        self._address = mask_url(settings.redis.url)
        self._keys = {
            part: ALERTS_KEY.format(namespace=settings.ray.namespace, part=part)
            for part in ("rules", "states", "seen", "revision", "history", "deliveries", "evaluator", "queue:webhook", "queue:mail")
        }

    def close(self) -> None:
        self._client.close()

    def rules(self) -> list[Rule]:
        """All rules, the oldest first."""
        with self._reach():
            return _rules(self._client.hgetall(self._keys["rules"]))

    def rule(self, rule_id: str) -> Rule:
        """The rule with that id. Raises UnknownAlert."""
        rules = {rule.rule_id: rule for rule in self.rules()}
        if rule_id not in rules:
            raise _unknown(rule_id, list(rules))
        return rules[rule_id]

    def add(self, rule: Rule) -> None:
        """Store a new rule. Raises AlertRefused above the maximum number of rules."""
        with self._reach():
            if self._client.hlen(self._keys["rules"]) >= RULES:
                raise AlertRefused(f"there are {RULES} alert rules: valid is at most that; remove one", field="rules", value=str(RULES))
            if not self._client.hsetnx(self._keys["rules"], rule.rule_id, encode(rule)):
                raise AlertRefused(f"the id {rule.rule_id!r} is in use: valid is another", field="id", value=rule.rule_id)
            self._client.incr(self._keys["revision"])

    def change(self, rule_id: str, change: Callable[[Rule], Rule]) -> Rule:
        """Replace a rule by what `change` makes of it, and begin it again unless only `muted` or `note` differ. Raises UnknownAlert."""
        before = self.rule(rule_id)
        after = replace(change(before), rule_id=rule_id)
        with self._reach(), self._client.pipeline() as batch:
            batch.hset(self._keys["rules"], rule_id, encode(after))
            if replace(after, muted=before.muted, note=before.note, created_ms=before.created_ms) != before:
                batch.hdel(self._keys["states"], rule_id)
            batch.incr(self._keys["revision"])
            batch.execute()
        return after

    def remove(self, rule_id: str) -> Rule:
        """Delete a rule and its state; its firings stay in the history. Raises UnknownAlert."""
        rule = self.rule(rule_id)
        with self._reach(), self._client.pipeline() as batch:
            batch.hdel(self._keys["rules"], rule_id)
            batch.hdel(self._keys["states"], rule_id)
            batch.incr(self._keys["revision"])
            batch.execute()
        return rule

    def load(self) -> Loaded:
        """Rules, states and progress at one moment."""
        with self._reach(), self._client.pipeline() as batch:
            batch.get(self._keys["revision"])
            for part in ("rules", "states", "seen"):
                batch.hgetall(self._keys[part])
            revision, rules, states, seen = batch.execute()
        known = {name: state for name, text in states.items() if (state := decode(text, RuleState)) is not None}
        return Loaded(_revision(revision), tuple(_rules(rules)), known, integers(seen))

    def claim(self, token: str, *, take_over: bool) -> bool:
        """Become or stay the pipeline's evaluator. Only with `take_over` from another that renews its claim."""
        key = self._keys["evaluator"]
        with self._reach():
            if take_over:
                return bool(self._client.set(key, token, px=_EXPIRES_MS))
            if self._client.get(key) == token:
                return bool(self._client.pexpire(key, _EXPIRES_MS))
            return bool(self._client.set(key, token, px=_EXPIRES_MS, nx=True))

    def release(self, token: str) -> None:
        """Give the claim up, so that another need not wait until it expires."""
        with self._reach():
            if self._client.get(self._keys["evaluator"]) == token:
                self._client.delete(self._keys["evaluator"])

    def revision(self) -> int:
        with self._reach():
            return _revision(self._client.get(self._keys["revision"]))

    def commit(self, token: str, revision: int, result: Evaluation, channels: tuple[str, ...]) -> list[Firing]:
        """Store an evaluation of the rules of `revision`, and queue its firings for the channels; returns them as stored.

        Raises:
            Outdated: nothing was stored: load again, and evaluate the same values again.
        """
        with self._reach(), self._client.pipeline() as batch:
            batch.watch(self._keys["evaluator"], self._keys["revision"])
            if batch.get(self._keys["evaluator"]) != token or _revision(batch.get(self._keys["revision"])) != revision:
                raise Outdated
            room = {channel: QUEUE - batch.llen(self._keys[f"queue:{channel}"]) for channel in channels}
            batch.multi()
            if result.states:
                batch.hset(self._keys["states"], mapping={name: encode(state) for name, state in result.states.items()})
            if result.seen:
                batch.hset(self._keys["seen"], mapping=result.seen)
            stored = [self._queue_firing(batch, firing, room) for firing in result.firings]
            try:
                batch.execute()
            except redis.WatchError:
                raise Outdated from None
        if stored:
            self._cut_history()
        return stored

    def _queue_firing(self, batch: Any, firing: Firing, room: dict[str, int]) -> Firing:
        deliveries = {}
        for channel in room if not firing.rule.muted else ():
            deliveries[channel] = "waiting" if room[channel] > 0 else QUEUE_FULL
            if room[channel] > 0:
                batch.rpush(self._keys[f"queue:{channel}"], firing.firing_id)
                room[channel] -= 1
        stored = replace(firing, deliveries=deliveries)
        batch.hset(self._keys["history"], firing.firing_id, encode(stored))
        return stored

    def _cut_history(self) -> None:
        with self._reach():
            if self._client.hlen(self._keys["history"]) <= HISTORY + _SLACK:
                return
            old = sorted(self._client.hkeys(self._keys["history"]))[:-HISTORY]
            self._client.hdel(self._keys["history"], *old)
            gone = [name for name in self._client.hkeys(self._keys["deliveries"]) if name.partition("|")[0] in set(old)]
            if gone:
                self._client.hdel(self._keys["deliveries"], *gone)

    def history(self, count: int = HISTORY) -> list[Firing]:
        """The last firings, the newest first, with the results of their deliveries."""
        with self._reach(), self._client.pipeline() as batch:
            batch.hgetall(self._keys["history"])
            batch.hgetall(self._keys["deliveries"])
            stored, results = batch.execute()
        newest = sorted(stored, reverse=True)[: min(count, HISTORY)]
        found = [firing for name in newest if (firing := decode(stored[name], Firing)) is not None]
        for firing in found:
            firing.deliveries.update({channel: text for channel in firing.deliveries if (text := results.get(f"{firing.firing_id}|{channel}"))})
        return found

    def next_delivery(self, channel: str) -> Firing | None:
        """The oldest firing that waits for a channel."""
        with self._reach():
            while (firing_id := self._client.lindex(self._keys[f"queue:{channel}"], 0)) is not None:
                text = self._client.hget(self._keys["history"], firing_id)
                firing = None if text is None else decode(text, Firing)
                if firing is not None:
                    return firing
                self._client.lrem(self._keys[f"queue:{channel}"], 1, firing_id)  # the history no longer has it
        return None

    def note_delivery(self, channel: str, firing_id: str, result: str, *, done: bool) -> None:
        """Record the result of an attempt; `done` removes the firing from the channel's queue."""
        with self._reach(), self._client.pipeline() as batch:
            batch.hset(self._keys["deliveries"], f"{firing_id}|{channel}", result)
            if done:
                batch.lrem(self._keys[f"queue:{channel}"], 1, firing_id)
            batch.execute()

    @contextmanager
    def _reach(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            text = f"Redis at {self._address} does not answer: {error} (is the pipeline running? CRYPTOVIZ_REDIS__URL)"
            raise EngineUnavailable(text, engine="redis", address=self._address) from None


def _revision(stored: str | None) -> int:
    return integers({"revision": stored or "0"}).get("revision", 0)


def _rules(stored: Mapping[str, str]) -> list[Rule]:
    rules = [rule for text in stored.values() if (rule := decode(text, Rule)) is not None]
    return sorted(rules, key=lambda rule: (rule.created_ms, rule.rule_id))


def _unknown(rule_id: str, known: list[str]) -> UnknownAlert:
    shown = rule_id[:64]
    return UnknownAlert(f"no alert rule {shown!r}{did_you_mean(shown, known)}: valid are the ids of `cryptoviz alerts list`", rule=shown)
