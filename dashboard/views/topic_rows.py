"""Rows of the topics page: topics with their partitions, and records with their JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptoviz.times import typed_ms
from dashboard.views.markup import element, text
from dashboard.views.numbers import UNKNOWN, format_count, format_number
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = [
    "Browse", "Found", "KafkaRecord", "PartitionStatus", "Start", "TopicStatus", "found_markup", "parse_browse", "pretty", "topic_table",
]  # fmt: skip

MAX_RECORDS = 100
_DEFAULT_RECORDS = 20
_MAX_KEY = 200
_PREVIEW = 160
_MAX_OFFSET = 2**63 - 1  # of Kafka


class Start(StrEnum):
    """Where reading begins."""

    NEWEST = "newest"
    OLDEST = "oldest"
    OFFSET = "offset"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """`[low, high)` offsets of a partition; `lag`: records that the lake has not read, None if it reads none; `rate`: offsets a second."""

    number: int
    low: int
    high: int
    lag: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A topic; `table` of the lake that its records become."""

    name: str
    table: str | None
    partitions: tuple[PartitionStatus, ...]


@dataclass(frozen=True, slots=True)
class Browse:
    """What records to show. `value`: an offset, or a time as UTC epoch ms; `partition` None: all; `key`: exact, empty: any."""

    topic: str
    start: Start = Start.NEWEST
    value: int = 0
    partition: int | None = None
    key: str = ""
    limit: int = _DEFAULT_RECORDS


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A record. `value`: its beginning; `size`: its length in bytes; the time is UTC epoch ms."""

    partition: int
    offset: int
    time_ms: int
    key: str | None
    value: bytes | None
    size: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Records, how many were read to find them, and whether the whole request was read."""

    records: tuple[KafkaRecord, ...]
    scanned: int
    complete: bool


def parse_browse(values: Mapping[str, str], topics: Sequence[str]) -> Browse | str:
    """What a form asks for, or what is wrong with it. Untrusted."""
    topic = values.get("topic", "")
    if topic not in topics:
        return say("No such topic. Valid are {names}.", names=", ".join(topics))
    start = values.get("start", "newest")
    if start not in tuple(Start):
        return say("Start at one of {names}.", names=", ".join(Start))
    value = _begin(Start(start), values.get("at", ""))
    if isinstance(value, str):
        return value
    partition: int | None = None
    if values.get("partition", ""):
        partition = _number(values["partition"], 6)
        if partition is None:
            return say("The partition must be a whole number, or empty for all.")
    limit = _number(values.get("limit", "") or str(_DEFAULT_RECORDS), 4)
    if limit is None or not 1 <= limit <= MAX_RECORDS:
        return say("Show 1 to {count} records.", count=MAX_RECORDS)
    key = values.get("key", "")
    if len(key) > _MAX_KEY:
        return say("The key has {count} characters: at most {limit} are allowed.", count=format_count(len(key)), limit=_MAX_KEY)
    return Browse(topic, Start(start), value, partition, key, limit)


def _begin(start: Start, at: str) -> int | str:
    """The offset or time that a form begins at, or what is wrong with it."""
    if start is Start.OFFSET:
        number = _number(at, 19)
        return say("The offset must be a whole number from 0, such as 1234.") if number is None else number
    if start is Start.TIME:
        moment_ms = typed_ms(at)
        return say("The time must be like 2026-01-31T12:00:00Z (UTC).") if moment_ms is None else max(0, moment_ms)
    return 0


def _number(written: str, digits: int) -> int | None:
    number = int(written) if written.isascii() and written.isdecimal() and len(written) <= digits else None
    return None if number is None or number > _MAX_OFFSET else number


def topic_table(topics: Sequence[TopicStatus], chosen: str) -> str:
    """A row for each topic with its sums, and rows of its partitions below the chosen one."""
    heads = (
        ("Topic", ""),
        ("Partitions", "cv-right"),
        ("Offsets", "cv-right cv-wide-only"),
        ("Records", "cv-right"),
        ("Rate", "cv-right"),
        ("Lag of the lake", "cv-right"),
    )
    head = "".join(element("th", text(say(name)), classes, scope="col") for name, classes in heads)
    rows = []
    for one in topics:
        parts = one.partitions
        lags = [part.lag for part in parts if part.lag is not None]
        rates = [part.rate for part in parts if part.rate is not None]
        name = element(
            "button", text(one.name), "cv-link", type="button", data_act="choose", data_topic=one.name, aria_pressed=str(one.name == chosen).lower()
        )
        table = element("small", text(f" → {one.table}"), "cv-muted") if one.table else ""
        rows.append(
            _row(
                one.name,
                name + table,
                str(len(parts)),
                "",
                sum(part.high - part.low for part in parts),
                sum(rates) if rates else None,
                sum(lags) if lags else None,
                f"cv-topic cv-topic-{one.name}",
            )
        )
        if one.name == chosen:
            rows += [
                _row(
                    f"{one.name}/{part.number}",
                    text(say("partition {number}", number=part.number)),
                    "",
                    f"{format_count(part.low)} – {format_count(part.high)}",
                    part.high - part.low,
                    part.rate,
                    part.lag,
                    "cv-partition",
                )
                for part in parts
            ]
    return element("table", element("thead", element("tr", head)) + element("tbody", "".join(rows)), "cv-table cv-topics-table")


def _row(key: str, name: str, partitions: str, offsets: str, size: int, rate: float | None, lag: int | None, classes: str) -> str:
    cells = (
        element("td", name),
        element("td", partitions, "cv-right cv-num"),
        element("td", offsets, "cv-right cv-num cv-wide-only"),
        element("td", format_count(size), "cv-right cv-num", data_value=size),
        element("td", UNKNOWN if rate is None else f"{format_number(rate, 1)}/s", "cv-right cv-num"),
        element("td", UNKNOWN if lag is None else format_count(lag), "cv-right cv-num" + (" cv-warn" if lag and lag > 10_000 else ""), data_lag=lag),
    )
    return element("tr", "".join(cells), classes, data_key=key)


def pretty(value: bytes | None, size: int) -> str:
    """A record's value as text: JSON with indents, other content with escapes; says when it is cut."""
    if value is None:
        return "(null)"
    decoded = value.decode("utf-8", "backslashreplace")
    if size <= len(value):
        try:
            return json.dumps(json.loads(decoded), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return decoded
    return "\n".join((decoded, say("… {count} bytes in all", count=format_count(size))))


def found_markup(found: Found, asked: Browse) -> str:
    """Records, each opened by a click; or why there are none."""
    if found.records:
        return _record_table(found)
    read = format_count(found.scanned)
    if not found.complete:
        return state_markup("empty", "Not read to the end", say("{count} read, stopped by the limit of time or records.", count=read))
    if asked.key:
        return state_markup("empty", "No records", say("{count} read, none of the key {key} from there on.", count=read, key=repr(asked.key)))
    return state_markup("empty", "No records", say("{count} read, none from there on.", count=read))


def _record_table(found: Found) -> str:
    rows = "".join(_record(one) for one in found.records)
    count, read = len(found.records), format_count(found.scanned)
    shown = say("{count} record shown, {read} read" if count == 1 else "{count} records shown, {read} read", count=count, read=read)
    reach = "" if found.complete else say(", stopped by the limit of time or records")
    note = element("p", text(f"{shown}{reach}."), "cv-note cv-found")
    return note + element("div", rows, "cv-records")


def _record(one: KafkaRecord) -> str:
    whole = pretty(one.value, one.size)
    line = " ".join(whole[: _PREVIEW * 2].split())[:_PREVIEW]
    head = (
        element("b", f"{one.partition}:{one.offset}", "cv-num")
        + element("cv-time", "", "cv-num", data_ms=one.time_ms)
        + element("span", text(one.key if one.key is not None else say("no key")), "cv-record-key" + ("" if one.key is not None else " cv-muted"))
        + element("span", text(line), "cv-cut cv-muted cv-wide-only")
    )
    headers = element("p", text(", ".join(f"{name}={content}" for name, content in one.headers)), "cv-note") if one.headers else ""
    return element(
        "details", element("summary", head) + headers + element("pre", text(whole), "cv-json", tabindex="0"), "cv-record",
        data_key=f"{one.partition}:{one.offset}",
    )  # fmt: skip
