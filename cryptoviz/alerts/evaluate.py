"""Evaluation of alert rules: from values and the last states to new states and firings. Pure: time and look-ups are arguments.

A rule is *armed* or *active*. It fires when its condition begins to hold, and stays active until the condition has ended for all its subjects. In
the cool-down after a firing it does not fire; if the condition still holds at its end, it fires then. Prices count in the time of their ticks, so
that repeating records after a restart gives the same firings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from cryptoviz.alerts.rule import ALL, PROVIDER_WINDOWS, Kind, Rule, is_beyond, is_over, plain
from cryptoviz.components import ComponentStatus
from cryptoviz.records import DOLLAR, DOLLARS, UnifiedRecord
from cryptoviz.times import DAY_MS

__all__ = ["Evaluation", "Evaluator", "Firing", "Reference", "RuleState", "firing_of"]

Reference = Callable[[str, str, int], float | None]
"""Price of an asset in a quote currency at the newest tick until a moment (UTC epoch ms), None if there is none near it."""
_DECIMALS = 4
"""Of a computed percentage in texts. Comparisons are exact."""
_GRACE_MS = 15_000
"""In which the dashboard has read the past of the stream: 60 000 records take 3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A rule that fired.

    Attributes:
        firing_id: time and rule, so that a repeated evaluation gives the same; sorts by time.
        rule: as it was then.
        subject: what the condition began to hold for; `others`: how many more it held for.
        value: decimal text in `rule.unit`, or a component's state.
        at_ms: UTC epoch ms of the tick, or of the observation of an age or a state.
        deliveries: result by channel.
    """

    firing_id: str
    rule: Rule
    subject: str
    value: str
    at_ms: int
    others: int = 0
    deliveries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleState:
    """State of a rule. `holds` are the subjects for which the condition holds, sorted; times are UTC epoch ms."""

    active_since_ms: int | None = None
    last_fired_ms: int | None = None
    holds: tuple[str, ...] = ()


def firing_of(rule: Rule, subject: str, value: str, at_ms: int, others: int = 0) -> Firing:
    """A firing with its id."""
    return Firing(firing_id=f"{at_ms:014d}-{rule.rule_id}", rule=rule, subject=subject, value=value, at_ms=at_ms, others=others)


@dataclass(slots=True)
class Evaluation:
    """Result of an evaluation, to be stored as a whole: changed states by rule, firings, and the newest evaluated tick of each asset.

    `newest` is not stored: the newest tick of each asset that was read, evaluated or not.
    """

    states: dict[str, RuleState] = field(default_factory=dict)
    firings: list[Firing] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    @property
    def must_be_stored(self) -> bool:
        """Whether repeating it after a restart would not give the same."""
        return bool(self.states or self.firings)


class Evaluator:
    """Evaluates rules. An evaluation changes nothing until `accept`, so that one that could not be stored can be repeated.

    Args:
        rules, states, seen: as stored.
        tick_ms: tick interval.
        dollars_equal: rules in dollars also take prices in dollar stablecoins (`collect.usdt_is_usd`).
        reference: earlier prices.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        states: Mapping[str, RuleState],
        seen: Mapping[str, int],
        *,
        tick_ms: int,
        dollars_equal: bool,
        reference: Reference,
        newest: Mapping[str, int] | None = None,
    ) -> None:
        self.rules = {rule.rule_id: rule for rule in rules}
        self.states = {rule_id: states.get(rule_id, RuleState()) for rule_id in self.rules}
        self.values: dict[str, str] = {}
        """Last value by rule, for display; of the last evaluated subject if a rule is for all."""
        self.newest = dict(newest or {})
        """Newest tick by asset that this process has read, also before `seen`: gaps are counted from it."""
        self._seen = dict(seen)
        self._tick_ms, self._dollars_equal, self._reference = tick_ms, dollars_equal, reference
        self._of_asset: dict[str, list[Rule]] = {}
        for rule in self.rules.values():
            if rule.kind not in (Kind.COMPONENT, Kind.STALENESS):
                self._of_asset.setdefault(rule.subject, []).append(rule)

    @property
    def watches_time(self) -> bool:
        """Whether a rule can change without a record: ages grow, and cool-downs end."""
        return any(rule.kind in (Kind.COMPONENT, Kind.STALENESS) for rule in self.rules.values())

    def of_records(self, records: Iterable[UnifiedRecord], now_ms: int) -> Evaluation:
        """Evaluate records in the order of their offsets. Each counts once, whatever was read before."""
        result, horizon_ms = Evaluation(), now_ms + DAY_MS
        for record in records:
            asset_id, tick_ts = record.asset_id, record.tick_ts
            before = result.newest.get(asset_id, self.newest.get(asset_id))
            seen = result.seen.get(asset_id, self._seen.get(asset_id))
            if tick_ts <= horizon_ms:  # ticks of a clock that was far ahead would stay the newest until their time
                before, seen = (None if one is not None and one > horizon_ms else one for one in (before, seen))
            if before is not None and tick_ts <= before:
                continue
            result.newest[asset_id] = tick_ts
            if seen is not None and tick_ts <= seen:
                continue
            result.seen[asset_id] = tick_ts
            for rule in (*self._of_asset.get(asset_id, ()), *self._of_asset.get(ALL, ())):
                value = self._value(rule, record, before) if tick_ts > rule.created_ms else None
                if value is not None:
                    self._settle_value(result, rule, asset_id, value, tick_ts)
        return result

    def of_ages(self, newest_ticks: Mapping[str, int], assets: Iterable[str], since_ms: int, now_ms: int) -> Evaluation:
        """Evaluate the ages of prices: time since the newest tick.

        An asset without a price is as old as `since_ms`, when this process began to read. A rule is not evaluated until prices have had its time to
        arrive since then: at a start the known ones are as old as the pause before it.
        """
        result = Evaluation()
        ages = {asset_id: Decimal(max(0, now_ms - newest_ticks.get(asset_id, since_ms))) / 1000 for asset_id in assets}
        for rule in self.rules.values():
            if rule.kind is Kind.STALENESS and now_ms - since_ms >= max(Decimal(_GRACE_MS), rule.threshold * 1000):
                for asset_id in ages if rule.subject == ALL else [rule.subject]:
                    if asset_id in ages:
                        self._settle_value(result, rule, asset_id, ages[asset_id], now_ms)
        return result

    def of_components(self, components: Iterable[ComponentStatus], now_ms: int) -> Evaluation:
        """Evaluate the states of components."""
        result, states = Evaluation(), {component.name: component.state for component in components}
        for rule in self.rules.values():
            if rule.kind is Kind.COMPONENT:
                for name in states if rule.subject == ALL else [rule.subject]:
                    if name in states:
                        self._settle(result, rule, name, states[name].value, now_ms, holds=states[name] in rule.states)
        return result

    def accept(self, result: Evaluation) -> None:
        """Continue from the states of a result."""
        self.states |= result.states
        self._seen |= result.seen
        self.newest |= result.newest

    def _value(self, rule: Rule, record: UnifiedRecord, before: int | None) -> Decimal | None:
        """What the rule compares with its threshold; None if this record does not tell."""
        if rule.kind is Kind.PRICE:
            return _exact(record.price) if self._in_currency(rule, record.quote_currency) else None
        if rule.kind is Kind.DISAGREEMENT:
            return None if record.spread_bps is None else _exact(record.spread_bps)
        if rule.kind is Kind.GAP:
            return None if before is None else Decimal((record.tick_ts - before) // self._tick_ms - 1)
        if rule.window_s in PROVIDER_WINDOWS:
            change = getattr(record, PROVIDER_WINDOWS[rule.window_s])
            return None if change is None else _exact(change)
        then = self._reference(record.asset_id, record.quote_currency, record.tick_ts - rule.window_s * 1000)
        return None if then is None else (_exact(record.price) / _exact(then) - 1) * 100

    def _in_currency(self, rule: Rule, currency: str) -> bool:
        return currency == rule.quote_currency or (self._dollars_equal and rule.quote_currency == DOLLAR and currency in DOLLARS)

    def _settle_value(self, result: Evaluation, rule: Rule, subject: str, value: Decimal, at_ms: int) -> None:
        held = subject in self._state(result, rule).holds
        holds = is_beyond(rule, value) or (held and not is_over(rule, value))
        self._settle(result, rule, subject, plain(value, _DECIMALS if rule.kind is Kind.CHANGE else None), at_ms, holds=holds)

    def _settle(self, result: Evaluation, rule: Rule, subject: str, value: str, at_ms: int, *, holds: bool) -> None:
        self.values[rule.rule_id] = value
        state = self._state(result, rule)
        before = set(state.holds)
        subjects = before | {subject} if holds else before - {subject}
        fires = holds and state.active_since_ms is None and not _cools(rule, state, at_ms)
        if subjects == before and not fires:
            return
        changed = replace(state, holds=tuple(sorted(subjects)))
        if not subjects:
            changed = replace(changed, active_since_ms=None)
        elif fires:
            changed = replace(changed, active_since_ms=at_ms, last_fired_ms=at_ms)
            result.firings.append(firing_of(rule, subject, value, at_ms, len(subjects) - 1))
        result.states[rule.rule_id] = changed

    def _state(self, result: Evaluation, rule: Rule) -> RuleState:
        return result.states.get(rule.rule_id, self.states[rule.rule_id])


def _cools(rule: Rule, state: RuleState, at_ms: int) -> bool:
    return state.last_fired_ms is not None and 0 <= at_ms - state.last_fired_ms < rule.cool_down_s * 1000


def _exact(number: float) -> Decimal:
    """The decimal text of a number in JSON, exactly. A JSON true is 1, as in all comparisons of this language."""
    return Decimal(repr(+number))
