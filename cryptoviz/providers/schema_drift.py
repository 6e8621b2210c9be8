"""The shape watch reports a body that still parses but has lost or gained fields, or implausible values, before rows are missing.

Compared with what the provider documents, not with what came first, so that a restart in the middle of a change sees it too. Pure but for its log.
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
"""Entries of a body that are looked at: a field that none of them has is gone, and a body of thousands costs no more than one of fifty."""
NAMES_TOLD = 4
STICKY_POLLS = 10
"""For how many polls a jump of prices stays in the state, so that a person sees it; then the new level is the usual one."""
JUMP = 0.9
MIN_COMMON_COINS = 3
"""Of fewer coins a jump says nothing about the body."""
MIN_PCT, MAX_PCT = -100.0, 100_000.0
"""A price cannot lose more than all of itself; 1000-fold in a week has been seen of new coins, not of half a list."""
RANGE_FACTOR = 1.5
CAP_FACTOR = 2.0
"""Aggregators leave some coins out of a market cap; half of a list off by this much means another unit or supply."""
AHEAD_MS = 3_600_000
"""A stamp further ahead is no matter of clocks that differ."""
_KINDS = {type(None): "0", bool: "b", int: "n", float: "n", str: "s", list: "a", dict: "o"}
_KIND_NAMES = {"0": "null", "b": "boolean", "n": "number", "s": "text", "a": "array", "o": "object"}


@dataclass(frozen=True)
class Shape:
    """What an endpoint's good bodies hold.

    Attributes:
        entries: the coins of a decoded body, as objects; none for anything it does not know. Never raises.
        used: fields that a record is made of: dotted path -> kinds (`n`umber, `s` text, `b`oolean, `a`rray, `o`bject, `0` null), with `?` when it may
            be missing.
        other: further documented fields, in the same way. Objects are looked into only where a dotted path says so.
        confirm_after: bodies in a row without a field before it counts as lost; more than 1 where a body is one coin.
    """

    entries: Callable[[Any], Iterable[Any]]
    used: Mapping[str, str]
    other: Mapping[str, str] = field(default_factory=dict)
    confirm_after: int = 1


@dataclass(frozen=True)
class Findings:
    """What is not as documented. `lost` and `changed` concern all entries; `degrading` says that a record is poorer for it."""

    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    degrading: bool = False

    @property
    def message(self) -> str:
        """One line for a person, empty when all is as documented."""
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
    """One provider's bodies over time."""

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
    """One endpoint's fields against its shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._documented = {**shape.used, **shape.other}
        self._prefixes = {path[: at + 1] for path in self._documented for at, letter in enumerate(path) if letter == "."}
        # Bodies in a row without a documented field, or with nothing but another kind of it; bodies since an unknown field was seen.
        self._missing: Counter[str] = Counter()
        self._odd_kind: Counter[str] = Counter()
        self._since_gained: dict[str, int] = {}
        self.lost: list[str] = []
        self.changed: dict[str, str] = {}
        self.gained: list[str] = []

    @property
    def degrading(self) -> bool:
        """A field that records are made of is lost or of another kind."""
        return any(name in self._shape.used for name in (*self.lost, *self.changed))

    def see(self, data: Any) -> bool:
        """Take in a decoded body; False when it has no entry, which says nothing."""
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
    """Values of half of the coins that no market would show."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._jump_told = 0
        self.odd: tuple[str, ...] = ()

    def judge(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """True when there was something to judge."""
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
    """More than half of those that can be judged."""
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
