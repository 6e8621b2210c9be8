"""Values of Redis that no command and no page of ours wrote end nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from cryptoviz.alerts.evaluate import Firing, RuleState, firing_of
from cryptoviz.alerts.rule import Kind, Rule
from cryptoviz.alerts.stored import decode, encode, integers

T0 = 1_700_000_000_000
RULE = Rule(rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal("0.10000000000000000001"), created_ms=T0, note="é")


def test_what_is_written_is_read() -> None:
    firing = firing_of(RULE, "bitcoin", "0.1", T0, others=2)
    state = RuleState(active_since_ms=T0, last_fired_ms=T0, holds=("bitcoin",))
    assert (decode(encode(RULE), Rule), decode(encode(firing), Firing), decode(encode(state), RuleState)) == (RULE, firing, state)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": "NaN"},  # a comparison with it raises
        {"threshold": "-Infinity"},
        {"threshold": "1E+999999"},  # so does its percentage
        {"threshold": "0." + "1" * 200},
        {"hysteresis_pct": "sNaN"},
        {"hysteresis_pct": "-1"},
        {"window_s": -1},
        {"cool_down_s": 10**12},
        {"created_ms": 10**18},  # no date
        {"note": "one\r\nBcc: all@example.com"},
        {"subject": "bitcoin\n"},
        {"rule_id": ""},
        {"rule_id": "a\r\nX: b"},
        {"rule_id": "../x"},
        {"kind": "horoscope"},
        {"states": ["FLYING"]},
    ],
    ids=lambda changes: "-".join(f"{name}-{str(value)[:12]!r}" for name, value in changes.items()),
)
def test_a_rule_that_no_one_could_enter_is_left_out(changes: dict[str, Any]) -> None:
    text = msgspec.json.encode(msgspec.to_builtins(RULE) | changes).decode()
    assert decode(text, Rule) is None
    firing = msgspec.to_builtins(firing_of(RULE, "bitcoin", "0.1", T0))
    assert decode(msgspec.json.encode(firing | {"rule": msgspec.to_builtins(RULE) | changes}).decode(), Firing) is None


@pytest.mark.parametrize("firing", [{"firing_id": "x\n"}, {"at_ms": 10**18}, {"at_ms": -1}, {"value": "1\r\n2"}, {"subject": "\x1b[31m"}], ids=str)
def test_a_firing_that_cannot_be_sent_is_left_out(firing: dict[str, Any]) -> None:
    text = msgspec.json.encode(msgspec.to_builtins(firing_of(RULE, "bitcoin", "0.1", T0)) | firing).decode()
    assert decode(text, Firing) is None


def test_a_moment_without_a_date_is_no_state() -> None:
    assert decode(encode(RuleState(last_fired_ms=10**18)), RuleState) is None
    assert decode("[]", RuleState) is None


def test_ticks_that_are_no_numbers_are_left_out() -> None:
    assert integers({"bitcoin": str(T0), "x": "soon", "y": "9" * 400, "z": "١"}) == {"bitcoin": T0}


def test_a_changed_rule_stays_readable() -> None:
    assert decode(encode(replace(RULE, muted=True)), Rule) == replace(RULE, muted=True)
