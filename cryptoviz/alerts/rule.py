"""An alert rule: what is watched, when it fires, when it is over. Pure.

Values are exact: the shortest decimal text of a price, which is also the one in its JSON, is compared with the decimal text of the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from cryptoviz.components import ComponentState
from cryptoviz.records import DOLLAR

__all__ = [
    "ALL",
    "PROVIDER_WINDOWS",
    "UNITS",
    "Direction",
    "Kind",
    "Rule",
    "describe",
    "duration_text",
    "is_beyond",
    "is_over",
    "plain",
]

ALL = "all"
"""The subject of a rule for all assets, or all components."""


class Kind(StrEnum):
    """What a rule watches."""

    PRICE = "price"
    CHANGE = "change"
    STALENESS = "staleness"
    DISAGREEMENT = "disagreement"
    GAP = "gap"
    COMPONENT = "component"


class Direction(StrEnum):
    """On which side of its threshold a rule fires; the threshold itself belongs to that side."""

    ABOVE = "above"
    BELOW = "below"


UNITS = {Kind.CHANGE: "%", Kind.STALENESS: "s", Kind.DISAGREEMENT: "bps", Kind.GAP: "ticks"}
"""Unit of the threshold; of a price it is the quote currency, and a component has none."""
PROVIDER_WINDOWS = {3_600: "change_1h_pct", 86_400: "change_24h_pct", 604_800: "change_7d_pct"}
"""Windows in seconds whose change the providers report: the columns of the market page. Other windows are computed from the ticks."""
_MOST_DIGITS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. `cryptoviz.alerts.draft` makes valid ones.

    Attributes:
        subject: asset id or name of a component, or `ALL`. A rule for all fires when its condition begins to hold for the first of them.
        threshold: in `UNITS`, or of a price in `quote_currency`. Without meaning for a component.
        window_s: of a change.
        states: of a component.
        hysteresis_pct: how far the value must return behind the threshold, in percent of it, until the rule can fire again.
        cool_down_s: minimum time between two firings.
        muted: firings are recorded in the history, without a notice or a delivery.
        created_ms: UTC epoch ms of the last edit. Earlier ticks are not evaluated.
    """

    rule_id: str
    kind: Kind
    subject: str
    direction: Direction = Direction.ABOVE
    threshold: Decimal = Decimal(0)
    quote_currency: str = DOLLAR
    window_s: int = 0
    states: tuple[ComponentState, ...] = ()
    hysteresis_pct: Decimal = Decimal(0)
    cool_down_s: int = 0
    muted: bool = False
    created_ms: int = 0
    note: str = ""

    @property
    def unit(self) -> str:
        """Unit of value and threshold; empty for a component."""
        return self.quote_currency if self.kind is Kind.PRICE else UNITS.get(self.kind, "")

    @property
    def clear_level(self) -> Decimal:
        """The level that ends the condition once the value has passed it."""
        slack = abs(self.threshold) * self.hysteresis_pct / 100
        return self.threshold - slack if self.direction is Direction.ABOVE else self.threshold + slack


def is_beyond(rule: Rule, value: Decimal) -> bool:
    """Whether the condition begins at this value."""
    return value >= rule.threshold if rule.direction is Direction.ABOVE else value <= rule.threshold


def is_over(rule: Rule, value: Decimal) -> bool:
    """Whether the condition ends at this value; between the two, it stays as it was."""
    return value < rule.clear_level if rule.direction is Direction.ABOVE else value > rule.clear_level


def plain(value: Decimal, decimals: int | None = None) -> str:
    """Decimal text without zeros at its end, rounded to `decimals`; with an exponent only if it would be longer than a line."""
    if abs(value.adjusted()) > _MOST_DIGITS:
        return str(value)
    text = f"{value:f}" if decimals is None else f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def describe(rule: Rule) -> str:
    """The condition in one line of English: `bitcoin price above 100000 USD`."""
    if rule.kind is Kind.COMPONENT:
        return f"component {rule.subject} is {' or '.join(rule.states)}"
    window = f" over {duration_text(rule.window_s)}" if rule.kind is Kind.CHANGE else ""
    return f"{rule.subject} {rule.kind}{window} {rule.direction} {plain(rule.threshold)} {rule.unit}"


def duration_text(seconds: int) -> str:
    """`15m`: in the largest unit of d, h, m and s that divides it."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds and seconds % unit_s == 0:
            return f"{seconds // unit_s}{unit}"
    return f"{seconds}s"
