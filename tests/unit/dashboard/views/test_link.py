"""Deep links, valid and invalid."""

from __future__ import annotations

import pytest

from dashboard.views.history_rows import RANGES_MS, range_start
from dashboard.views.link import Link, parse_link
from dashboard.views.texts import catalogue

COINS = ["bitcoin", "ethereum"]
VIEWS = ["market", "coin", "pipeline"]


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
    assert parse_link(arguments, COINS, VIEWS) == link


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("fr", "fr"), ("fr-CH,en;q=0.8", "fr"), ("de,fr;q=0.7", "fr"), ("de", "en"), ("en-US,fr", "en"), ("<fr>,;;q=\x00", "en")],
)
def test_the_language_is_the_browsers_first_of_ours(accepted: str, language: str) -> None:
    assert parse_link({}, COINS, VIEWS, accepted).language == language
    assert parse_link({"lang": "fr"}, COINS, VIEWS, accepted).language == "fr"
    assert parse_link({"lang": "xx"}, COINS, VIEWS, accepted).language == language


def test_every_text_is_in_both_languages() -> None:
    assert catalogue("en").keys() == catalogue("fr").keys()
    assert all(catalogue("fr").values())


def test_without_coins_there_is_none_chosen() -> None:
    assert parse_link({"coin": "bitcoin"}, [], VIEWS).coin == ""


def test_ranges_start_on_a_step_that_browsers_share() -> None:
    assert {range_start(now, "1h") for now in range(1_000_000_000_000, 1_000_000_005_000, 500)} == {1_000_000_000_000 - RANGES_MS["1h"]}
