"""From what a person enters to a rule: defaults, exact thresholds, and refusals that say what, which value, what is valid."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cryptoviz.alerts.draft import Draft, Known, make_rule
from cryptoviz.alerts.rule import Direction, Kind, Rule, describe
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.components import ComponentState
from cryptoviz.errors import AlertRefused

KNOWN = Known(DEFAULT_ASSETS, 60_000, 100.0, ("lake", "scraper/coingecko"))


def made(kind: str, subject: str, **values: Any) -> Rule:
    return make_rule(Draft(kind=kind, subject=subject, **values), "abc123", 5, KNOWN)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (made("price", "BTC", above="100000.10"), "bitcoin price above 100000.1 USD"),
        (made("price", "Bitcoin", below="1e5", quote_currency="eur"), "bitcoin price below 100000 EUR"),
        (made("change", "ethereum", below="-2.5", over="15m"), "ethereum change over 15m below -2.5 %"),
        (made("change", "eth", above="5", over="24h"), "ethereum change over 1d above 5 %"),
        (made("staleness", "all"), "all staleness above 300 s"),
        (made("staleness", "xrp", above="2m"), "ripple staleness above 120 s"),
        (made("disagreement", "all"), "all disagreement above 100 bps"),
        (made("gap", "sol", above="3"), "solana gap above 3 ticks"),
        (made("component", "lake"), "component lake is DEGRADED or BACKOFF or FAILED"),
        (made("component", "all", states=("failed", "STOPPED")), "component all is FAILED or STOPPED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_describes_itself(rule: Rule, text: str) -> None:
    assert describe(rule) == text


def test_defaults_are_those_of_the_pipeline() -> None:
    assert made("price", "BTC", above="0.1") == Rule(
        rule_id="abc123", kind=Kind.PRICE, subject="bitcoin", direction=Direction.ABOVE, threshold=Decimal("0.1"), hysteresis_pct=Decimal("0.1"),
        cool_down_s=300, created_ms=5,
    )  # fmt: skip
    assert made("gap", "all").threshold == 1
    assert made("component", "lake").states == (ComponentState.DEGRADED, ComponentState.BACKOFF, ComponentState.FAILED)


def test_the_clear_level_lies_behind_the_threshold() -> None:
    assert made("price", "BTC", above="100", hysteresis_pct="5").clear_level == 95
    assert made("price", "BTC", below="100", hysteresis_pct="5").clear_level == 105
    assert made("change", "BTC", below="-10", over="5m", hysteresis_pct="10").clear_level == -9


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "kind": ({"kind": "prise"}, "kind", "kind is 'prise': valid is price, change, staleness, disagreement, gap, component (did you mean price?)"),
    "asset": ({"subject": "bitcoyn"}, "subject", "subject is 'bitcoyn': valid is bitcoin, "),
    "all prices": ({"subject": "all"}, "subject", "subject is 'all': valid is bitcoin, "),
    "component": (
        {"kind": "component", "subject": "lak", "above": ""},
        "subject",
        "subject is 'lak': valid is all, lake, scraper/coingecko (did you mean lake?)",
    ),
    "no threshold": ({"above": ""}, "above", "above is '': valid is a price above 0, such as 100000 or 0.25, as above or below"),
    "both sides": ({"below": "3"}, "below", "above is '5' and below is '3': valid is one of them"),
    "not a number": ({"above": "five"}, "above", "above is 'five': valid is a price above 0, such as 100000 or 0.25"),
    "not finite": ({"above": "nan"}, "above", "above is 'nan': valid is"),
    "infinite": ({"above": "Infinity"}, "above", "above is 'Infinity': valid is"),
    "huge exponent": ({"above": "1e999999999"}, "above", "above is '1e999999999': valid is"),
    "zero price": ({"above": "0"}, "above", "above is '0': valid is"),
    "no change": ({"kind": "change", "above": "0", "over": "5m"}, "above", "above is '0': valid is a percentage other than 0"),
    "window without unit": ({"kind": "change", "over": "soon"}, "over", "over is 'soon': valid is a whole number of s, m, h or d"),
    "no window": ({"kind": "change"}, "over", "over is '': valid is"),
    "short window": ({"kind": "change", "over": "10s"}, "over", "over is '10s': valid is 60 s to 216000 s (3600 ticks), or 1h, 24h, 7d"),
    "long window": ({"kind": "change", "over": "8d"}, "over", "over is '8d': valid is 60 s to 216000 s"),
    "half a tick": ({"kind": "gap", "above": "1.5"}, "above", "above is '1.5': valid is a whole number of missing ticks, from 1"),
    "staleness below": ({"kind": "staleness", "above": "", "below": "5"}, "below", "below is '5', which has no meaning for staleness: valid is none"),
    "state of a price": ({"states": ("FAILED",)}, "state", "state is 'FAILED', which has no meaning for price: valid is none"),
    "state": (
        {"kind": "component", "subject": "lake", "above": "", "states": ("BROKEN",)},
        "state",
        "state is 'BROKEN': valid is STOPPED, STARTING, ",
    ),
    "hysteresis": ({"hysteresis_pct": "101"}, "hysteresis", "hysteresis is '101': valid is 0 to 100, in percent"),
    "cool-down": ({"cool_down": "40d"}, "cool-down", "cool-down is '40d': valid is 0 s to 2592000 s"),
    "quote": ({"quote_currency": "$"}, "quote", "quote is '$': valid is a currency of 2 to 10 letters and digits"),
    "note": ({"note": "\x1b[31mred"}, "note", "note is '\\x1b[31mred': valid is at most 200 printable characters"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_value_is_refused_with_what_is_valid(case: str) -> None:
    values, field, text = REFUSED[case]
    with pytest.raises(AlertRefused) as refused:
        make_rule(Draft(**({"kind": "price", "subject": "bitcoin", "above": "5"} | values)), "abc123", 5, KNOWN)
    assert refused.value.field == field
    assert text in refused.value.message
