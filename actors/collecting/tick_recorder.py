"""Audit records of the collector: the inputs of each tick's unified records, so that `actors.replay.run` can reproduce them.

Raw exchanges contain the providers' responses, but not which providers had no turn, were held back or late, nor the rules of selection. Each tick's
transaction therefore contains one more raw record, of the provider `collector` (endpoint `tick`), with the results by the ids of their exchanges.
Once per start and UTC day it also contains the rules and the asset table (endpoint `rules`, in parts), which the tick records reference by hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from actors.collecting.missing_ticks import MissingTicks
from actors.collecting.tick_assembler import ClosedTick
from actors.collecting.unify import ReplaceBy, Rules
from actors.publishing.exchange_recorder import FRAME_BYTES
from actors.publishing.transaction import KafkaTransaction, Message
from cryptoviz.assets import Asset
from cryptoviz.audit import RECORDER, RULES, TICK
from cryptoviz.errors import RecordError
from cryptoviz.records import Call, FallbackReason, PollTrace, RawExchange, TickResult
from cryptoviz.settings import Settings
from cryptoviz.times import DAY_MS

__all__ = ["RecordedRules", "RecordedTick", "TickRecorder", "rules_from", "tick_from"]

VERSION = 1
PART_CHARS = 200_000
"""Size of a part of the rules: far below the topic's limit even with JSON escapes. A thousand assets fit into one part."""
MAX_MESSAGE_CHARS = 200
_RULES_PART = re.compile(rf"{RULES}\?part=([0-9]+)&of=([0-9]+)")


@dataclass(frozen=True, slots=True)
class RecordedRules:
    """Inputs of a tick's unified records other than the responses.

    Attributes:
        plans: by provider, its plan and whether it has a key; URL paths depend on both.
    """

    rules: Rules
    assets: tuple[Asset, ...]
    plans: dict[str, tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class RecordedTick:
    """A tick as the collector closed it. `results` contain no observations; `rules_id` is the hash of its `RecordedRules`."""

    rules_id: str
    closed: ClosedTick


class TickRecorder:
    """Makes the audit records of one collector. Its only state is what has been published."""

    def __init__(self, settings: Settings, rules: Rules) -> None:
        plans = {name: (own.plan, own.api_key is not None) for name in rules.order for own in (settings.provider(name),)}
        self._rules = _rules_text(RecordedRules(rules, settings.assets, plans))
        self._id = hashlib.blake2b(self._rules.encode(), digest_size=16).hexdigest()
        self._limit = settings.kafka.max_record_bytes - FRAME_BYTES
        self._tick_ms = settings.collect.tick_ms
        self._lost = {"dropped": MissingTicks(self._tick_ms), "unplanned": MissingTicks(self._tick_ms)}
        # The UTC day for which the rules are known to be in the topic. A reader searches only the day of its tick.
        self._day: int | None = None

    def audit_records(self, closed: ClosedTick, now_ms: int) -> tuple[Message, ...]:
        """The record of the tick, preceded by the rules if they are not yet published for its day."""
        lost = {name: spans for name, ticks in self._lost.items() if (spans := ticks.report(closed.tick_ts))}
        value = self._tick(closed, now_ms, {"results": {name: _result(result) for name, result in closed.results.items()}} | lost)
        if len(value) > self._limit:
            value = self._tick(closed, now_ms, {"too_large": len(value)})
        rules = self._rules_records(closed.tick_ts, now_ms) if closed.tick_ts // DAY_MS != self._day else ()
        return (*rules, Message(RECORDER.encode(), value))

    def unplanned(self, tick_ts: int) -> None:
        """No provider had a turn on this tick, which has no record of its own: the next tick record reports it."""
        self._lost["unplanned"].add(tick_ts)

    def dropped(self, transaction: KafkaTransaction) -> None:
        """The tick, or some of its records, is lost because Kafka was unavailable for too long or rejected it: the next tick record reports it."""
        self._lost["dropped"].add(transaction.tick_ts)

    def published(self, transaction: KafkaTransaction) -> None:
        """The broker acknowledged the transaction. Without audit records it reported no missing ticks."""
        if not transaction.audit_records:
            return
        for ticks in self._lost.values():
            ticks.published(transaction.tick_ts)
        if len(transaction.audit_records) > 1:
            self._day = transaction.tick_ts // DAY_MS

    def _tick(self, closed: ClosedTick, now_ms: int, more: Mapping[str, Any]) -> bytes:
        body = {"v": VERSION, "rules": self._id, "tick_ms": self._tick_ms, "absent": closed.absent, "idle": sorted(closed.idle), **more}
        return _record(f"tick-{closed.tick_ts}", TICK, closed.tick_ts, now_ms, orjson.dumps(body).decode())

    def _rules_records(self, tick_ts: int, now_ms: int) -> tuple[Message, ...]:
        parts = [self._rules[start : start + PART_CHARS] for start in range(0, len(self._rules), PART_CHARS)]
        endpoints = (f"{RULES}?part={number}&of={len(parts)}" for number in range(len(parts)))
        # Unique, as every `fetch_id`: dead-letter replay publishes a raw record once by it.
        values = (
            _record(f"{self._id}-{tick_ts}-{number}", endpoint, tick_ts, now_ms, part)
            for number, (endpoint, part) in enumerate(zip(endpoints, parts, strict=True))
        )
        return tuple(Message(RECORDER.encode(), value) for value in values)


def tick_from(tick_ts: int, body: str) -> RecordedTick:
    """Parse the record of a tick.

    Raises:
        RecordError: not a valid record of this version, or the record was too large to be written.
    """
    data = _read(body, "a tick")
    if "too_large" in data:
        raise RecordError(f"the tick's record had {data['too_large']} bytes, more than kafka.max_record_bytes allows", reason="too_large")
    try:
        results = {name: _result_from(name, tick_ts, one) for name, one in data["results"].items()}
        absent = {name: FallbackReason(reason) for name, reason in data["absent"].items()}
        return RecordedTick(data["rules"], ClosedTick(tick_ts, results, absent, frozenset(data["idle"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"invalid record of a tick: {error!r}", reason="unreadable") from None


def rules_from(rows: Iterable[Mapping[str, Any]]) -> dict[str, RecordedRules]:
    """Rules by their id, from raw rows of `RECORDER`. Incomplete and unreadable rules are omitted.

    The `fetch_id` is `<rules id>-<tick_ts>-<part>`; earlier versions wrote the rules id alone.
    """
    parts: dict[str, dict[int, str]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        place = _RULES_PART.fullmatch(row["endpoint"])
        if place is not None and row["body"] is not None:
            rules_id = row["fetch_id"].partition("-")[0]
            parts.setdefault(rules_id, {})[int(place[1])] = row["body"]
            counts[rules_id] = int(place[2])
    found = {}
    for rules_id, by_number in parts.items():
        if len(by_number) == counts[rules_id]:
            with contextlib.suppress(RecordError):
                found[rules_id] = _rules_from("".join(by_number[number] for number in sorted(by_number)))
    return found


def _record(fetch_id: str, endpoint: str, tick_ts: int, now_ms: int, body: str) -> bytes:
    return RawExchange(fetch_id, RECORDER, endpoint, tick_ts, tick_ts, now_ms, None, "ok", None, {}, 1, body).to_json()


def _result(result: TickResult) -> dict[str, Any]:
    data: dict[str, Any] = {"attempt": result.attempt, "ingest_ts": result.ingest_ts, "fetch_id": result.fetch_id}
    if result.failure is not None:
        data |= {"failure": result.failure, "message": result.message[:MAX_MESSAGE_CHARS]}
    trace = result.trace
    if trace is not None:
        data["calls"] = [_call(call) for call in trace.calls]
        data |= ({"memory": trace.memory} if trace.memory is not None else {}) | ({"cut": True} if trace.cut else {})
    if result.parts:
        data["parts"] = [_result(part) for part in result.parts]
    return data


def _call(call: Call) -> list[Any]:
    return [call.attempt, call.fetch_id, call.whole] if call.fetch_id else [call.attempt, "", False, call.endpoint, call.outcome]


def _result_from(name: str, tick_ts: int, data: Mapping[str, Any]) -> TickResult:
    trace = None
    if "calls" in data:
        trace = PollTrace(tuple(Call(*call) for call in data["calls"]), data.get("memory"), data.get("cut", False))
    failure = FallbackReason(data["failure"]) if "failure" in data else None
    parts = tuple(_result_from(name, tick_ts, part) for part in data.get("parts", ()))
    fetch_id, attempt, ingest_ts, message = data["fetch_id"], data["attempt"], data["ingest_ts"], data.get("message", "")
    return TickResult(name, tick_ts, fetch_id, attempt, ingest_ts, failure=failure, message=message, trace=trace, parts=parts)


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
        raise RecordError(f"invalid record of rules: {error!r}", reason="unreadable") from None


def _read(body: str, what: str) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except ValueError as error:
        raise RecordError(f"the record of {what} is not JSON: {error}", reason="unreadable") from None
    if not isinstance(data, dict) or data.get("v") != VERSION:
        raise RecordError(f"the record of {what} is not of version {VERSION}", reason="unreadable")
    return data
