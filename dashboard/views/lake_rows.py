"""Rows of the lake page: days, the strip of gaps, dead letters, results of SQL, provenance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from cryptoviz.gaps import Gap, GapState
from cryptoviz.times import utc
from dashboard.views.markup import duration_element, element, text
from dashboard.views.numbers import format_bytes, format_count, format_share, plain_number
from dashboard.views.texts import say

__all__ = ["DeadLetter", "LakeDay", "day_table", "dead_table", "gap_strip", "result_table", "total_line"]

_HOURS = 24
_STRIP_DAYS = 31
_HOUR_MS = 3_600_000
_LEVELS = ((0.0, 0), (0.02, 1), (0.1, 2), (0.5, 3))
_CELL = 300


@dataclass(frozen=True, slots=True)
class LakeDay:
    """Files of a table on a UTC day; `first_ms`: its first row, UTC epoch ms, None if the log does not tell."""

    table: str
    day: date
    files: int
    compacted: int
    size: int
    rows: int
    first_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that did not decode or validate; the time is UTC epoch ms, key and value are printable beginnings, `size` is in bytes."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    reason: str
    key: str
    value: str
    size: int


def total_line(days: Sequence[LakeDay], maintained_ms: int | None) -> str:
    """Totals of all tables, and when maintenance last ran (UTC epoch ms; None: not yet)."""
    rows, files, size = sum(one.rows for one in days), sum(one.files for one in days), sum(one.size for one in days)
    counts = (("rows", "row", rows), ("files", "file", files), ("days", "day", len({one.day for one in days})))
    facts = [(name, one if count == 1 else name, format_count(count)) for name, one, count in counts]
    facts.insert(2, ("size", "size", format_bytes(size)))
    shown = "".join(element("span", f"{element('b', text(value))} {text(say(word))}", f"cv-lake-{name}") for name, word, value in facts)
    return element(
        "div",
        element("h2", text(say("Lake")), "cv-title") + shown + element("span", _maintained(maintained_ms), "cv-note cv-maintained"),
        "cv-summary-line",
    )


def _maintained(moment_ms: int | None) -> str:
    if moment_ms is None:
        return text(say("maintenance has not run yet"))
    age = duration_element(moment_ms, "cv-num", say("since the last round"))
    return text(say("last maintenance {age} ago")).format(age=age)


def day_table(days: Sequence[LakeDay]) -> str:
    """A row for each day and table, newest first."""
    heads = (("Day", ""), ("Table", ""), ("Rows", "cv-right"), ("Files", "cv-right"), ("Compacted", "cv-right cv-wide-only"), ("Size", "cv-right"))
    head = "".join(element("th", text(say(name)), classes, scope="col") for name, classes in heads)
    body = "".join(
        element(
            "tr",
            element("td", text(one.day.isoformat()), "cv-num")
            + element("td", text(one.table))
            + element("td", format_count(one.rows), "cv-right cv-num")
            + element("td", format_count(one.files), "cv-right cv-num")
            + element("td", format_count(one.compacted), "cv-right cv-num cv-wide-only")
            + element("td", format_bytes(one.size), "cv-right cv-num"),
            data_key=f"{one.day}-{one.table}",
        )
        for one in days
    )
    return _table(head, body, "cv-table cv-days")


def gap_strip(gaps: Iterable[Gap], now_ms: int, tick_ms: int, assets: int, first_ms: int | None) -> str:
    """A strip of hours for each of the last days: the share of ticks of all assets that are missing and not filled.

    Hours before `first_ms`, the first row of the lake, and after now are empty.
    """
    missing: dict[int, float] = {}
    for gap in gaps:
        if gap.state is GapState.FILLED:
            continue
        open_share = 1 - gap.filled / gap.missing if gap.missing else 0.0
        for hour in range(gap.from_ms // _HOUR_MS, gap.to_ms // _HOUR_MS + 1):
            low, high = max(gap.from_ms, hour * _HOUR_MS), min(gap.to_ms, (hour + 1) * _HOUR_MS - 1)
            missing[hour] = missing.get(hour, 0.0) + ((high - low) // gap.tick_ms + 1) * open_share
    if first_ms is None:
        return ""
    today = utc(now_ms).date()
    first_day = max(utc(first_ms).date(), today - timedelta(days=_STRIP_DAYS - 1))
    days = [first_day + timedelta(days=number) for number in range((today - first_day).days + 1)]
    expected = max(1.0, _HOUR_MS / tick_ms * assets)
    rows = "".join(_strip_row(day, missing, expected, first_ms // _HOUR_MS, now_ms // _HOUR_MS) for day in reversed(days))
    return element("div", rows, "cv-gap-strip", role="table", aria_label=say("Missing ticks by hour, UTC")) + _legend()


def _legend() -> str:
    """What each colour of the strip means, in words."""
    levels = ("none", "below 2%", "2% to 10%", "10% to 50%", "50% or more")
    marks = [*((str(level), words) for level, words in enumerate(levels)), ("none", "before the first row, or still to come")]
    items = "".join(element("li", element("span", "", f"cv-gap cv-gap-{mark}", aria_hidden="true") + text(say(words))) for mark, words in marks)
    title = element("span", text(say("Missing ticks of all coins by hour, days and hours by UTC:")))
    return element("div", title + element("ul", items), "cv-strip-key")


def _strip_row(day: date, missing: Mapping[int, float], expected: float, first_hour: int, last_hour: int) -> str:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // 3600
    cells = []
    for hour in range(start, start + _HOURS):
        if not first_hour <= hour <= last_hour:
            cells.append(element("span", "", "cv-gap cv-gap-none", role="cell"))
            continue
        share = missing.get(hour, 0.0) / expected
        level = 0 if share <= 0 else next((number + 1 for number, (most, _) in enumerate(_LEVELS[1:]) if share < most), 4)
        label = say("{hour}: {share} of the ticks missing", hour=f"{day} {hour - start:02d}:00 UTC", share=format_share(min(share, 1)))
        cells.append(element("span", "", f"cv-gap cv-gap-{level}", role="cell", title=label, data_share=plain_number(min(share, 1), 4)))
    return element("div", element("span", day.isoformat(), "cv-strip-day cv-num", role="rowheader") + "".join(cells), "cv-strip-row", role="row")


def dead_table(counts: Mapping[str, int], letters: Sequence[DeadLetter]) -> str:
    """Counts by reason, and the newest dead letters."""
    chips = "".join(element("span", f"{text(reason)} {element('b', format_count(count))}", "cv-badge") for reason, count in counts.items())
    rows = "".join(
        element(
            "tr",
            element("td", element("cv-time", "", data_ms=one.time_ms), "cv-num")
            + element("td", text(f"{one.topic}:{one.partition}:{one.offset}"), "cv-mono")
            + element("td", text(one.reason), "cv-warn")
            + element("td", element("code", text(one.value), "cv-cut"), "cv-wide-only", title=say("{count} bytes", count=format_count(one.size))),
            data_key=f"{one.topic}:{one.partition}:{one.offset}",
        )
        for one in letters
    )
    heads = (("Time", ""), ("Record", ""), ("Reason", ""), ("Value", "cv-wide-only"))
    head = "".join(element("th", text(say(name)), classes, scope="col") for name, classes in heads)
    return element("div", chips, "cv-bar cv-reasons") + _table(head, rows, "cv-table cv-dead-letters")


def result_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of a query. Values of any type are shown as text, cut after some hundred characters."""
    numeric = [any(_is_number(row[at]) for row in rows) for at in range(len(names))]
    head = "".join(element("th", text(name), "cv-right" if right else "", scope="col") for name, right in zip(names, numeric, strict=True))
    body = "".join(element("tr", "".join(_cell(value) for value in row)) for row in rows)
    return element("div", _table(head, body, "cv-table cv-result"), "cv-scroll", tabindex="0")


def _cell(value: object) -> str:
    if value is None:
        return element("td", "null", "cv-muted")
    whole = value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
    shown = whole if len(whole) <= _CELL else f"{whole[:_CELL]}…"
    return element("td", text(shown), "cv-right cv-num" if _is_number(value) else "")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _table(head: str, body: str, classes: str) -> str:
    return element("table", element("thead", element("tr", head)) + element("tbody", body), classes)
