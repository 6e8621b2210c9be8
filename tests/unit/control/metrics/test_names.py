"""Names, units and types of exported metrics."""

from __future__ import annotations

import re

import pytest

from control.metrics.names import HELP, Exported, exported
from cryptoviz.components import ComponentKind


@pytest.mark.parametrize(
    ("kind", "metric", "name", "counter", "factor"),
    [
        (ComponentKind.SCRAPER, "polls_total", "cryptoviz_scraper_polls", True, 1.0),
        (ComponentKind.SCRAPER, "latency_ms", "cryptoviz_scraper_latency_seconds", False, 0.001),
        (ComponentKind.SCRAPER, "last_poll_age_s", "cryptoviz_scraper_last_poll_age_seconds", False, 1.0),
        (ComponentKind.STREAM, "trades_per_s", "cryptoviz_stream_trades_per_second", False, 1.0),
        (ComponentKind.ENGINE, "rss_mb", "cryptoviz_engine_rss_bytes", False, 1_048_576.0),
        (ComponentKind.EXTERNAL, "answer_ms", "cryptoviz_engine_answer_seconds", False, 0.001),
        (ComponentKind.LAKE, "lag_records", "cryptoviz_lake_lag_records", False, 1.0),
        (ComponentKind.LAKE, "dead_letters_total", "cryptoviz_lake_dead_letters", True, 1.0),
        (ComponentKind.MAINTENANCE, "bytes_before_total", "cryptoviz_maintenance_bytes_before", True, 1.0),
    ],
)
def test_a_name_has_a_prefix_and_its_base_unit(kind: ComponentKind, metric: str, name: str, counter: bool, factor: float) -> None:
    found = exported(kind, metric)
    assert (found.name, found.counter, found.factor, found.labels) == (name, counter, factor, {})


def test_dead_letters_by_reason_have_the_reason_as_label() -> None:
    found = exported(ComponentKind.LAKE, "dead_letters_not_json_total")
    assert found == Exported("cryptoviz_lake_dead_letters_by_reason", "Dead letters by reason.", True, 1.0, {"reason": "not_json"})


def test_a_metric_without_help_is_exported_too() -> None:
    assert exported(ComponentKind.LAKE, "new_things_total") == Exported("cryptoviz_lake_new_things", "new_things_total", True, 1.0)


def test_every_name_is_valid_and_belongs_to_one_metric() -> None:
    names: dict[str, tuple[ComponentKind, str]] = {}
    for kind, metrics in HELP.items():
        if kind is ComponentKind.EXTERNAL:  # the same names as an embedded engine
            continue
        for metric, text in metrics.items():
            name = exported(kind, metric).name
            assert re.fullmatch(r"cryptoviz_[a-z]+(_[a-z]+)+", name), name
            assert text.endswith(".")
            assert names.setdefault(name, (kind, metric)) == (kind, metric)
