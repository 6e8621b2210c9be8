"""The collector's part of a recording: what a tick's records were made of, so that `actors.replay.run` can make them again.

Raw exchanges say what providers answered. They do not say who was not to be asked, held back or late, nor by which rules the collector chose. So
each tick's transaction carries one more raw record, of the provider `collector` (endpoint `tick`), with the results by the ids of their exchanges;
and, once a start and UTC day, the rules and the asset table (endpoint `rules`, in parts), which the ticks name by their hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from actors.collecting.missing_ticks import LostTicks
from actors.collecting.tick_assembler import ClosedTick
from actors.collecting.unify import ReplaceBy, Rules
from actors.publishing.exchange_recorder import FRAME_BYTES
from actors.publishing.transaction import Batch, Message
from cryptoviz.assets import Asset
from cryptoviz.audit import RECORDER, RULES, TICK
from cryptoviz.errors import RecordError
from cryptoviz.records import Call, FallbackReason, PollTrace, RawExchange, TickResult
from cryptoviz.settings import Settings

__all__ = ["RecordedRules", "RecordedTick", "Recording", "rules_from", "tick_from"]

VERSION = 1
PART_CHARS = 200_000
"""Of the rules in one record: with its JSON escapes far below the topic's limit. A thousand assets take one part."""
DAY_MS = 86_400_000
MAX_MESSAGE_CHARS = 200
_RULES_PART = re.compile(rf"{RULES}\?part=([0-9]+)&of=([0-9]+)")


@dataclass(frozen=True, slots=True)
class RecordedRules:
    """What the records of a tick depend on beside the answers.

    Attributes:
        plans: by provider, its plan and whether it has a key, because paths depend on them.
    """

    rules: Rules
    assets: tuple[Asset, ...]
    plans: dict[str, tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class RecordedTick:
    """A tick as the collector closed it. `results` are without their observations; `rules_id` names its `RecordedRules`."""

    rules_id: str
    closed: ClosedTick


class Recording:
    """Makes the records of one collector. Pure but for the memory of what has been published."""

    def __init__(self, settings: Settings, rules: Rules) -> None:
        plans = {name: (own.plan, own.api_key is not None) for name in rules.order for own in (settings.provider(name),)}
        self._rules = _rules_text(RecordedRules(rules, settings.assets, plans))
        self._id = hashlib.blake2b(self._rules.encode(), digest_size=16).hexdigest()
        self._limit = settings.kafka.max_record_bytes - FRAME_BYTES
        self._tick_ms = settings.collect.tick_ms
        self._lost = {"dropped": LostTicks(self._tick_ms), "unplanned": LostTicks(self._tick_ms)}
        # The UTC day for which the rules are known to be in the topic. A reader looks for them in the day of its tick only.
        self._day: int | None = None

    def notes(self, closed: ClosedTick, now_ms: int) -> tuple[Message, ...]:
        """The tick's record, behind the rules when these are not published for its day yet."""
        lost = {name: spans for name, ticks in self._lost.items() if (spans := ticks.tell(closed.tick_ts))}
        value = self._tick(closed, now_ms, {"results": {name: _result(result) for name, result in closed.results.items()}} | lost)
        if len(value) > self._limit:
            value = self._tick(closed, now_ms, {"too_large": len(value)})
        rules = self._rules_notes(closed.tick_ts, now_ms) if closed.tick_ts // DAY_MS != self._day else ()
        return (*rules, Message(RECORDER.encode(), value))

    def unplanned(self, tick_ts: int) -> None:
        """No provider's plan paid for the tick: the next record says so, since this tick has none."""
        self._lost["unplanned"].add(tick_ts)

    def dropped(self, batch: Batch) -> None:
        """The tick, or some of its records, is lost because Kafka was away for too long or refused it: the next record that is made says so."""
        self._lost["dropped"].add(batch.tick_ts)

    def published(self, batch: Batch) -> None:
        """The broker has the batch, and the rules if it had them. Without notes it said nothing of what is missing."""
        if not batch.notes:
            return
        for ticks in self._lost.values():
            ticks.published(batch.tick_ts)
        if len(batch.notes) > 1:
            self._day = batch.tick_ts // DAY_MS

    def _tick(self, closed: ClosedTick, now_ms: int, more: Mapping[str, Any]) -> bytes:
        body = {"v": VERSION, "rules": self._id, "tick_ms": self._tick_ms, "absent": closed.absent, "idle": sorted(closed.idle), **more}
        return _note(f"tick-{closed.tick_ts}", TICK, closed.tick_ts, now_ms, orjson.dumps(body).decode())

    def _rules_notes(self, tick_ts: int, now_ms: int) -> tuple[Message, ...]:
        parts = [self._rules[start : start + PART_CHARS] for start in range(0, len(self._rules), PART_CHARS)]
        endpoints = (f"{RULES}?part={number}&of={len(parts)}" for number in range(len(parts)))
        values = (_note(self._id, endpoint, tick_ts, now_ms, part) for endpoint, part in zip(endpoints, parts, strict=True))
        return tuple(Message(RECORDER.encode(), value) for value in values)


def tick_from(tick_ts: int, body: str) -> RecordedTick:
    """Read a tick's record.

    Raises:
        RecordError: it is none of this version, or was too large to be written whole.
    """
    data = _read(body, "tick")
    if "too_large" in data:
        raise RecordError(f"the tick's record took {data['too_large']} bytes, which did not fit (kafka.max_record_bytes)", reason="too_large")
    try:
        results = {name: _result_from(name, tick_ts, one) for name, one in data["results"].items()}
        absent = {name: FallbackReason(reason) for name, reason in data["absent"].items()}
        return RecordedTick(data["rules"], ClosedTick(tick_ts, results, absent, frozenset(data["idle"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"a tick's record does not read: {error!r}", reason="unreadable") from None


def rules_from(rows: Iterable[Mapping[str, Any]]) -> dict[str, RecordedRules]:
    """By their id, the rules whose parts are all among these raw rows of `RECORDER`. Unreadable ones are left out."""
    parts: dict[str, dict[int, str]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        place = _RULES_PART.fullmatch(row["endpoint"])
        if place is not None and row["body"] is not None:
            parts.setdefault(row["fetch_id"], {})[int(place[1])] = row["body"]
            counts[row["fetch_id"]] = int(place[2])
    found = {}
    for rules_id, by_number in parts.items():
        if len(by_number) == counts[rules_id]:
            with contextlib.suppress(RecordError):
                found[rules_id] = _rules_from("".join(by_number[number] for number in sorted(by_number)))
    return found


def _note(fetch_id: str, endpoint: str, tick_ts: int, now_ms: int, body: str) -> bytes:
    return RawExchange(fetch_id, RECORDER, endpoint, tick_ts, tick_ts, now_ms, None, "ok", None, {}, 1, body).to_json()


def _result(result: TickResult) -> dict[str, Any]:
    data: dict[str, Any] = {"attempt": result.attempt, "ingest_ts": result.ingest_ts, "fetch_id": result.fetch_id}
    if result.failure is not None:
        data |= {"failure": result.failure, "message": result.message[:MAX_MESSAGE_CHARS]}
    trace = result.trace
    if trace is not None:
        data["calls"] = [_call(call) for call in trace.calls]
        data |= ({"memory": trace.memory} if trace.memory is not None else {}) | ({"cut": True} if trace.cut else {})
    return data


def _call(call: Call) -> list[Any]:
    return [call.attempt, call.fetch_id, call.whole] if call.fetch_id else [call.attempt, "", False, call.endpoint, call.outcome]


def _result_from(name: str, tick_ts: int, data: Mapping[str, Any]) -> TickResult:
    trace = None
    if "calls" in data:
        trace = PollTrace(tuple(Call(*call) for call in data["calls"]), data.get("memory"), data.get("cut", False))
    failure = FallbackReason(data["failure"]) if "failure" in data else None
    return TickResult(
        name, tick_ts, data["fetch_id"], data["attempt"], data["ingest_ts"], failure=failure, message=data.get("message", ""), trace=trace
    )  # fmt: skip


def _rules_text(rules: RecordedRules) -> str:
    own = rules.rules
    data = asdict(own) | {"currencies": sorted(own.currencies)}
    return orjson.dumps({"v": VERSION, "rules": data, "assets": rules.assets, "plans": rules.plans}).decode()


def _rules_from(text: str) -> RecordedRules:
    data = _read(text, "rules")
    try:
        own = data["rules"]
        rules = Rules(**own | {"order": tuple(own["order"]), "replace_by": ReplaceBy(own["replace_by"]), "currencies": frozenset(own["currencies"])})
        assets = tuple(Asset(**asset) for asset in data["assets"])
        return RecordedRules(rules, assets, {name: (plan, keyed) for name, (plan, keyed) in data["plans"].items()})
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"a record of rules does not read: {error!r}", reason="unreadable") from None


def _read(body: str, what: str) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except ValueError as error:
        raise RecordError(f"a record of a {what} is not JSON: {error}", reason="unreadable") from None
    if not isinstance(data, dict) or data.get("v") != VERSION:
        raise RecordError(f"a record of a {what} is not of version {VERSION}", reason="unreadable")
    return data
