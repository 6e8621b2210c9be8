"""Deep links, valid and invalid."""

from __future__ import annotations

import pytest

from dashboard.views.history_rows import RANGES_MS, range_start
from dashboard.views.link import Link, parse_link

COINS = ["bitcoin", "ethereum"]


@pytest.mark.parametrize(
    ("arguments", "link"),
    [
        ({}, Link("bitcoin", "1m", "market")),
        ({"coin": "ethereum", "tf": "1h", "view": "pipeline"}, Link("ethereum", "1h", "pipeline")),
        ({"coin": "ETHEREUM", "tf": "1H"}, Link("ethereum", "1h", "market")),
        ({"coin": "<script>", "tf": "2m", "view": "../etc"}, Link("bitcoin", "1m", "market")),
    ],
)
def test_what_is_not_valid_becomes_the_default(arguments: dict[str, str], link: Link) -> None:
    assert parse_link(arguments, COINS) == link


def test_a_link_reads_back() -> None:
    assert Link("bitcoin", "1m", "market").query() == "?coin=bitcoin&tf=1m"
    assert Link("ethereum", "5m", "pipeline").query() == "?coin=ethereum&tf=5m&view=pipeline"


def test_without_coins_there_is_none_chosen() -> None:
    assert parse_link({"coin": "bitcoin"}, []).coin == ""


def test_ranges_start_on_a_step_that_browsers_share() -> None:
    assert {range_start(now, "1h") for now in range(1_000_000_000_000, 1_000_000_005_000, 500)} == {1_000_000_000_000 - RANGES_MS["1h"]}
