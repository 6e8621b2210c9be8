"""Markup of the lake page: days, gaps by hour, results, dead letters."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from cryptoviz.gaps import Gap, GapScope
from dashboard.views.lake_rows import DeadLetter, LakeDay, day_table, dead_table, gap_strip, result_table, total_line
from dashboard.views.numbers import format_bytes

DAY = date(2026, 1, 31)
START_MS = int(datetime(2026, 1, 31, tzinfo=UTC).timestamp() * 1000)
HOUR_MS, TICK_MS = 3_600_000, 60_000


def gap(first: int, ticks: int, filled: int = 0) -> Gap:
    """A gap of ticks from the minute `first` of the day."""
    start = START_MS + first * TICK_MS
    return Gap(GapScope.ASSET, "bitcoin", start, start + (ticks - 1) * TICK_MS, TICK_MS, ticks, "not_running", start, filled)


def shares(markup: str) -> list[str]:
    return re.findall(r'data-share="([0-9.]+)"', markup)


def test_an_hour_shows_the_share_of_its_ticks_that_are_missing() -> None:
    now_ms = START_MS + 4 * HOUR_MS + 1
    # Two coins: 120 ticks an hour. 30 missing in the first hour, 60 over the next two, of which half are filled.
    strip = gap_strip([gap(10, 30), gap(90, 60, filled=30), gap(200, 5, filled=5)], now_ms, TICK_MS, 2, START_MS)
    assert shares(strip) == ["0.2500", "0.1250", "0.1250", "0.0000", "0.0000"]
    assert strip.count('cv-gap cv-gap-none" role') == 24 - 5
    assert "2026-01-31 00:00 UTC: 25.0% of the ticks missing" in strip
    assert re.findall(r"cv-gap cv-gap-(\d)\" role", strip) == ["3", "3", "3", "0", "0"]


def test_the_legend_says_what_each_colour_of_the_strip_means() -> None:
    # A thousand coins: 60 000 ticks an hour. Missing: none, 1 199 (below 2 %), 1 200 (2 %), 5 999, 6 000 (10 %), 29 999, 30 000 (50 %), all.
    missing = [0, 1_199, 1_200, 5_999, 6_000, 29_999, 30_000, 60_000]
    gaps = [Gap(GapScope.ASSET, "x", START_MS + at * HOUR_MS, START_MS + at * HOUR_MS + (count - 1) * 60, 60, count, "", START_MS, 0)
            for at, count in enumerate(missing) if count]  # fmt: skip
    strip = gap_strip(gaps, START_MS + 7 * HOUR_MS, TICK_MS, 1000, START_MS)
    assert re.findall(r"cv-gap-(\w+)\" role=\"cell\" title", strip) == ["0", "1", "2", "2", "3", "3", "4", "4"]
    legend = re.findall(r'<li><span class="cv-gap cv-gap-(\w+)" aria-hidden="true"></span>([^<]+)</li>', strip)
    assert legend == [
        ("0", "none"), ("1", "below 2%"), ("2", "2% to 10%"), ("3", "10% to 50%"), ("4", "50% or more"),
        ("none", "before the first row, or still to come"),
    ]  # fmt: skip
    assert "Missing ticks of all coins by hour, days and hours by UTC:" in strip


def test_days_before_the_first_row_and_after_a_month_are_not_shown() -> None:
    assert gap_strip([], START_MS, TICK_MS, 2, None) == ""
    assert gap_strip([], START_MS + 3 * 24 * HOUR_MS, TICK_MS, 2, START_MS).count("cv-strip-row") == 4
    assert gap_strip([], START_MS + 90 * 24 * HOUR_MS, TICK_MS, 2, START_MS).count("cv-strip-row") == 31


def test_totals_and_days_are_those_of_the_files() -> None:
    days = [LakeDay("prices", DAY, 3, 1, 2_097_152, 1_234_567), LakeDay("raw", DAY, 1, 0, 512, 7)]
    line = total_line(days, START_MS)
    shown = ("1,234,574", "<b>4</b> files", "2.0 MiB", "<b>1</b> day<", "last maintenance <cv-age", f'data-tick="{START_MS}"')
    assert [word in line for word in shown] == [True] * len(shown)
    assert "maintenance has not run yet" in total_line(days, None)
    table = day_table(days)
    assert table.count("<tr") == 3
    assert "1,234,567" in table
    assert "512 B" in table


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (3 * 2**30, "3.0 GiB"), (5 * 2**40, "5.0 TiB")])
def test_sizes_have_binary_units(size: int, shown: str) -> None:
    assert format_bytes(size) == shown


def test_nothing_of_a_result_or_a_dead_letter_is_markup() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    letter = DeadLetter("crypto-streaming", 0, 7, START_MS, f"not_json: {hostile}", hostile, hostile, 28)
    for markup in (result_table([hostile], [[hostile], [{"a": hostile}]]), dead_table({hostile: 3}, [letter])):
        assert "<img" not in markup
        assert "&lt;img" in markup
    assert "crypto-streaming:0:7" in dead_table({}, [letter])


def test_a_result_shows_null_numbers_and_a_cut_of_long_values() -> None:
    table = result_table(["a", "b", "c"], [[None, 1.5, "x" * 1000]])
    assert '<td class="cv-muted">null</td>' in table
    assert '<td class="cv-right cv-num">1.5</td>' in table
    assert f"{'x' * 300}…" in table
    assert "x" * 301 not in table
