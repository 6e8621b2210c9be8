"""Audit records: each has an id of its own in the raw topic, as every raw record."""

from __future__ import annotations

from typing import Any

import orjson

from actors.collecting import tick_recorder
from actors.collecting.core import rules_of
from actors.collecting.tick_assembler import ClosedTick
from actors.collecting.tick_recorder import TickRecorder, rules_from, tick_from
from cryptoviz.settings import load_settings

DAY = 1_790_000_000_000 // 86_400_000 * 86_400_000


def records(ticks: list[int]) -> list[dict[str, Any]]:
    """The audit records of these ticks, each by a collector that has just started."""
    settings = load_settings(crypto_list=("bitcoin", "ethereum"))
    found = []
    for tick_ts in ticks:
        closed = ClosedTick(tick_ts, {}, {}, frozenset())
        found += [orjson.loads(message.value) for message in TickRecorder(settings, rules_of(settings)).audit_records(closed, tick_ts)]
    return found


def test_no_two_records_share_an_id(monkeypatch: Any) -> None:
    """Dead-letter replay publishes a raw record once by `fetch_id`: with a shared id it would drop the other parts and the other day's rules."""
    monkeypatch.setattr(tick_recorder, "PART_CHARS", 500)
    found = records([DAY, DAY + 1000, DAY + 86_400_000])
    assert len(found) >= 3 * (2 + 1)
    assert len({one["fetch_id"] for one in found}) == len(found)


def test_rules_in_parts_are_found_by_the_id_in_the_tick(monkeypatch: Any) -> None:
    whole = records([DAY])
    monkeypatch.setattr(tick_recorder, "PART_CHARS", 500)
    *parts, tick = records([DAY])
    rules_id = tick_from(DAY, tick["body"]).rules_id
    assert rules_from(parts).keys() == {rules_id}
    assert rules_from(parts) == rules_from(whole)
    assert rules_from(parts[1:]) == {}


def test_rules_of_an_earlier_version_have_the_id_alone() -> None:
    rules, tick = records([DAY])
    rules_id = tick_from(DAY, tick["body"]).rules_id
    assert rules_from([rules | {"fetch_id": rules_id}]) == rules_from([rules])
