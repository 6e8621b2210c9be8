"""The shape watch reports a body that still parses but has lost or gained fields, or implausible values, before rows are missing.

The comparison is with the documented shape, not with the first body, so that a restart during a change detects it too. Pure except for its log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cryptoviz.log import get_logger
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FIRST_TRADE_MS, Observation

__all__ = ["Findings", "Shape", "ShapeWatch"]

ENTRIES_SEEN = 50
"""Maximum number of entries that are checked per body: a field that none of them has is lost. Bounds the cost of large bodies."""
NAMES_TOLD = 4
STICKY_POLLS = 10
"""Number of polls for which a price jump stays in the state, so that people see it; then the new level is the usual one."""
JUMP = 0.9
MIN_COMMON_COINS = 3
"""With fewer coins, a jump is no evidence about the body."""
MIN_PCT, MAX_PCT = -100.0, 100_000.0
"""A price cannot fall by more than 100 %; new coins have risen 1000-fold in a week, but never half of a list."""
RANGE_FACTOR = 1.5
CAP_FACTOR = 2.0
"""Aggregators exclude some coins of a supply; if half of a list differs by this factor, the unit or supply is another."""
AHEAD_MS = 3_600_000
"""A time stamp further ahead is not explained by different clocks."""
_KINDS = {type(None): "0", bool: "b", int: "n", float: "n", str: "s", list: "a", dict: "o"}
_KIND_NAMES = {"0": "null", "b": "boolean", "n": "number", "s": "text", "a": "array", "o": "object"}


@dataclass(frozen=True)
class Shape:
    """The documented content of an endpoint's good bodies.

    Attributes:
        entries: the coins of a decoded body, as objects; none for an unknown form. Never raises.
        used: fields used for records: dotted path -> kinds (`n`umber, `s` text, `b`oolean, `a`rray, `o`bject, `0` null), with `?` if it may
            be missing.
        other: further documented fields, in the same form. Only objects of a dotted path are checked inside.
        confirm_after: consecutive bodies without a field before it counts as lost; more than 1 if a body is one coin.
    """

    entries: Callable[[Any], Iterable[Any]]
    used: Mapping[str, str]
    other: Mapping[str, str] = field(default_factory=dict)
    confirm_after: int = 1


@dataclass(frozen=True)
class Findings:
    """Differences from the documentation. `lost` and `changed` concern all entries; `degrading`: records lack values."""

    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    degrading: bool = False

    @property
    def message(self) -> str:
        """One line for people; empty without differences."""
        parts = [f"{word} {_names(names)}" for word, names in (("lost", self.lost), ("gained", self.gained)) if names]
        parts += [*self.changed[:NAMES_TOLD], *self.odd]
        return f"shape changed: {'; '.join(parts)}" if parts else ""

    @property
    def metrics(self) -> dict[str, float]:
        return {
            "shape_lost_fields": float(len(self.lost) + len(self.changed)),
            "shape_gained_fields": float(len(self.gained)),
            "shape_odd_values": float(len(self.odd)),
        }


class ShapeWatch:
    """Checks one provider's bodies over time."""

    def __init__(self, provider: str, shapes: Mapping[str, Shape]) -> None:
        self._provider = provider
        self._fields = {part: _Fields(shape) for part, shape in shapes.items()}
        self._values = _Values()
        self._log = get_logger(f"provider/{provider}")
        self.findings = Findings()

    def see(self, path: str, response: HttpResponse) -> None:
        watched = next((fields for part, fields in self._fields.items() if part in path), None)
        if watched is None:
            return
        try:
            data = response.json()
        except ValueError:
            return  # a parser of a third party may read more than strict JSON
        if watched.see(data):
            self._tell()

    def judge(self, observations: Sequence[Observation], now_ms: int) -> None:
        if self._values.judge(observations, now_ms):
            self._tell()

    def _tell(self) -> None:
        before, states = self.findings, self._fields.values()
        self.findings = Findings(
            lost=tuple(name for state in states for name in state.lost),
            changed=tuple(f"{name} is {kind}" for state in states for name, kind in state.changed.items()),
            gained=tuple(name for state in states for name in state.gained),
            odd=self._values.odd,
            degrading=any(state.degrading for state in states),
        )
        if self.findings == before:
            return
        if self.findings.message:
            self._log.warning("shape_changed", provider=self._provider, message=self.findings.message, degrading=self.findings.degrading)
        else:
            self._log.info("shape_is_as_documented_again", provider=self._provider)


class _Fields:
    """Compares one endpoint's fields with its shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._documented = {**shape.used, **shape.other}
        self._prefixes = {path[: at + 1] for path in self._documented for at, letter in enumerate(path) if letter == "."}
        # Consecutive bodies without a documented field or with another kind of it; bodies since an unknown field was seen.
        self._missing: Counter[str] = Counter()
        self._odd_kind: Counter[str] = Counter()
        self._since_gained: dict[str, int] = {}
        self.lost: list[str] = []
        self.changed: dict[str, str] = {}
        self.gained: list[str] = []

    @property
    def degrading(self) -> bool:
        """Whether a field used for records is lost or of another kind."""
        return any(name in self._shape.used for name in (*self.lost, *self.changed))

    def see(self, data: Any) -> bool:
        """Check a decoded body; False if it has no entry."""
        kinds: dict[str, set[str]] = {}
        entries = [entry for entry in islice(self._shape.entries(data), ENTRIES_SEEN) if isinstance(entry, dict)]
        for entry in entries:
            for name, kind in self._walk(entry, ""):
                kinds.setdefault(name, set()).add(kind)
        if not entries:
            return False
        confirm_after, last_kinds = self._shape.confirm_after, dict[str, str]()
        for name, allowed in self._documented.items():
            seen = kinds.get(name, set())
            self._missing[name] = 0 if seen or "?" in allowed else self._missing[name] + 1
            is_odd = bool(seen) and not seen & set(allowed)
            self._odd_kind[name] = self._odd_kind[name] + 1 if is_odd else 0
            last_kinds[name] = " or ".join(sorted(_KIND_NAMES[kind] for kind in seen))
        self._since_gained = {name: since + 1 for name, since in self._since_gained.items() if since < confirm_after}
        self._since_gained |= dict.fromkeys(sorted(kinds.keys() - self._documented.keys()), 0)
        self.lost = [name for name in self._documented if self._missing[name] >= confirm_after]
        self.changed = {name: last_kinds[name] for name in self._documented if self._odd_kind[name] >= confirm_after}
        self.gained = [name for name, since in self._since_gained.items() if since < confirm_after]
        return True

    def _walk(self, entry: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in entry.items():
            name = prefix + key
            if isinstance(value, dict) and f"{name}." in self._prefixes:
                yield from self._walk(value, f"{name}.")
            else:
                yield name, _KINDS[type(value)]


class _Values:
    """Detects implausible values of more than half of the coins."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._jump_told = 0
        self.odd: tuple[str, ...] = ()

    def judge(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """False if there was nothing to judge."""
        if not observations:
            return False
        odd = [text for text, is_odd in _ODD.items() if _share(observations, is_odd)]
        if _share(observations, lambda o: _odd_stamp(o, now_ms)):
            odd.append("stamps lie before 2009 or ahead of our clock")
        if self._jumped(observations):
            odd.append(f"the price of more than half of the coins jumped by more than {JUMP:.0%}")
        self.odd = tuple(odd)
        return True

    def _jumped(self, observations: Sequence[Observation]) -> bool:
        common = [(o.price, self._usual[o.asset_id]) for o in observations if o.asset_id in self._usual]
        jumped = len(common) >= MIN_COMMON_COINS and sum(_is_jump(*pair) for pair in common) * 2 > len(common)
        self._jump_told = self._jump_told + 1 if jumped else 0
        if not jumped or self._jump_told > STICKY_POLLS:
            self._usual |= {o.asset_id: o.price for o in observations}
            self._jump_told = 0
            return False
        return True


def _is_jump(price: float, usual: float) -> bool:
    return price > usual * (1 + JUMP) or price < usual * (1 - JUMP)


def _share(observations: Sequence[Observation], is_odd: Callable[[Observation], bool | None]) -> bool:
    """Whether more than half of those that can be judged are odd."""
    judged = [verdict for o in observations if (verdict := is_odd(o)) is not None]
    return bool(judged) and sum(judged) * 2 > len(judged)


def _odd_percent(o: Observation) -> bool | None:
    changes = [change for change in (o.change_1h_pct, o.change_24h_pct, o.change_7d_pct) if change is not None]
    return any(not MIN_PCT <= change <= MAX_PCT for change in changes) if changes else None


def _odd_range(o: Observation) -> bool | None:
    if o.high_24h is None or o.low_24h is None:
        return None
    return o.high_24h < o.low_24h or not o.low_24h / RANGE_FACTOR <= o.price <= o.high_24h * RANGE_FACTOR


def _odd_cap(o: Observation) -> bool | None:
    if o.market_cap is None or o.circulating_supply is None:
        return None
    expected = o.price * o.circulating_supply
    return not expected / CAP_FACTOR <= o.market_cap <= expected * CAP_FACTOR


def _odd_stamp(o: Observation, now_ms: int) -> bool | None:
    return None if o.source_ts is None else not FIRST_TRADE_MS <= o.source_ts <= now_ms + AHEAD_MS


_ODD: dict[str, Callable[[Observation], bool | None]] = {
    "changes in percent are out of range": _odd_percent,
    "prices lie outside of their day's range": _odd_range,
    "market caps do not fit price and supply": _odd_cap,
}


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_TOLD
    return ", ".join(name[:60] for name in names[:NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")
