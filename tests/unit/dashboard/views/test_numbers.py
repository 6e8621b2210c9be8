"""Numbers of any size, and missing numbers."""

from __future__ import annotations

import math
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.views.numbers import (
    UNKNOWN,
    Direction,
    direction,
    format_bytes,
    format_compact,
    format_count,
    format_figure,
    format_percent,
    format_price,
    format_share,
)
from dashboard.views.texts import say, speak


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (4.9e-13, "$4.9e-13"),
        (9.999_99e-9, "$1e-8"),
        (5e-324, "$4.9407e-324"),
        (1e-8, "$0.000000010000"),
        (0.000_012_345_6, "$0.000012346"),
        (0.001_234_567, "$0.0012346"),
        (0.039_123_4, "$0.039123"),
        (0.471_123, "$0.47112"),
        (1.0, "$1.0000"),
        (999.12345, "$999.1235"),
        (1000.0, "$1,000.00"),
        (97_123.456, "$97,123.46"),
        (1e9, "$1.00B"),
        (1e12, "$1.00T"),
        (0.0, "$0.00"),
        (-5.5, "−$5.5000"),
    ],
)
def test_prices_keep_the_digits_that_their_size_needs(value: float, shown: str) -> None:
    assert format_price(value, "USD") == shown


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_a_dash_and_never_zero(value: float | None) -> None:
    assert {format_price(value), format_compact(value), format_percent(value), format_count(value)} == {UNKNOWN}
    assert direction(value) is Direction.NONE


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (940.0, "940.00"),
        (0.01, "0.01"),
        (0.004_9, "0.0049000"),
        (4.9e-13, "4.9e-13"),
        (999.99, "999.99"),
        (999.996, "1.00K"),
        (12_345, "12.35K"),
        (999_999, "1.00M"),
        (3.841e10, "38.41B"),
        (1.92e12, "1.92T"),
        (2.5e15, "2,500.00T"),
    ],
)
def test_amounts_carry_a_suffix_and_never_read_1000_of_it(value: float, shown: str) -> None:
    assert format_compact(value) == shown
    assert format_compact(-value, "USD") == f"−${shown}"


@pytest.mark.parametrize(("currency", "shown"), [("USD", "$2.0000"), ("USDT", "₮2.0000"), ("", "2.0000"), ("CHF", "CHF 2.0000")])
def test_currencies_are_named(currency: str, shown: str) -> None:
    assert format_price(2.0, currency) == shown


@pytest.mark.parametrize(
    ("percent", "way", "shown"),
    [
        (1.234, Direction.UP, "▲ +1.23%"),
        (-0.456, Direction.DOWN, "▼ −0.46%"),
        (0.004, Direction.FLAT, "■ 0.00%"),
        (-0.004, Direction.FLAT, "■ 0.00%"),
        (1234.5, Direction.UP, "▲ +1,234.50%"),
    ],
)
def test_changes_say_their_way_by_sign_and_arrow(percent: float, way: Direction, shown: str) -> None:
    assert direction(percent) is way
    assert format_percent(percent) == shown


@given(st.floats(min_value=1e-300, max_value=1e12))
def test_a_price_reads_back_within_its_precision(value: float) -> None:
    text = format_price(value)
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1.0)
    read = float(text.rstrip("KMBT").replace(",", "")) * scale
    assert read > 0
    assert read == pytest.approx(value, rel=6e-3 if scale > 1 else 1e-4)


def test_numbers_and_phrases_follow_the_language_of_the_page() -> None:
    def french() -> list[str]:
        speak("fr")
        return [format_price(97_123.45, "USD"), format_percent(-1.25), format_count(12_345), say("Rows"), say("a name that has no French")]

    assert copy_context().run(french) == ["$97\u202f123,45", "▼ −1,25%", "12\u202f345", "Lignes", "a name that has no French"]
    assert format_price(97_123.45, "USD") == "$97,123.45"


def test_the_decimal_text_is_rounded_half_up_as_browsers_do() -> None:
    # The binary value of 2.675 is below it, and Python's rounding of 0.125 goes to the even digit.
    assert [format_percent(value) for value in (2.675, 0.125, 1.005, -0.005)] == ["▲ +2.68%", "▲ +0.13%", "▲ +1.01%", "▼ −0.01%"]
    assert [format_price(value) for value in (1.00005, 2345.675)] == ["1.0001", "2,345.68"]
    assert [format_compact(value) for value in (1125.0, 0.125)] == ["1.13K", "0.13"]


def test_figures_shares_and_sizes_follow_the_language() -> None:
    def said() -> list[str]:
        return [format_figure(12.345), format_figure(1234.0), format_share(0.9735), format_bytes(3 * 2**20), format_compact(1.92e12, "USD")]

    def french() -> list[str]:
        speak("fr")
        return [*said(), format_compact(3.841e10)]

    assert said() == ["12.35", "1,234", "97.4%", "3.0 MiB", "$1.92T"]
    # "38,41B" would be read as a thousand times as much: a billion is "Md" in French.
    assert copy_context().run(french) == ["12,35", "1\u202f234", "97,4%", "3,0 Mio", "$1,92\u202fBn", "38,41\u202fMd"]
