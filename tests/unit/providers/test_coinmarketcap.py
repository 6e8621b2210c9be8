from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoviz.providers.coinmarketcap import parse_quotes
from cryptoviz.providers.response import HttpResponse
from tests.support.corpus import IDS, RECEIVED_MS, Case, cases
from tests.unit.providers.json_values import JSON
from tests.unit.providers.parser_checks import check_any_body, check_case

QUOTE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("id", "symbol", "price", "volume_24h", "market_cap", "last_updated", "percent_change_1h"), JSON)
)
USD = st.fixed_dictionaries({"symbol": st.just("USD")}, optional=dict.fromkeys(("price", "market_cap", "last_updated"), JSON))
COIN = st.fixed_dictionaries(
    {
        "id": st.sampled_from([1, 1027, "28321"]) | JSON,
        "quote": JSON | st.fixed_dictionaries({"USD": QUOTE | JSON}) | st.lists(USD | QUOTE | JSON, max_size=3),
    },
    optional=dict.fromkeys(("cmc_rank", "circulating_supply", "max_supply", "last_updated"), JSON),
)
DATA = st.lists(COIN | JSON, max_size=4) | st.dictionaries(st.text(max_size=5), COIN | st.lists(COIN, max_size=2) | JSON, max_size=4) | JSON
CODE = st.sampled_from([0, "0", None, 1001, 1009, "1010", 1011, 500]) | JSON
ENVELOPE = st.fixed_dictionaries(
    {}, optional={"status": st.fixed_dictionaries({"error_code": CODE}, optional={"error_message": JSON}) | JSON, "data": DATA}
)
GOOD_ENVELOPE = st.fixed_dictionaries({"status": st.fixed_dictionaries({"error_code": st.sampled_from([0, "0", None])}), "data": DATA})


@pytest.mark.parametrize("case", cases("coinmarketcap"), ids=lambda case: case.name)
def test_corpus(case: Case):
    check_case(parse_quotes, case, IDS["coinmarketcap"])


@given(GOOD_ENVELOPE | ENVELOPE | JSON, st.sampled_from([200, 200, 200, 400, 401, 402, 403, 429, 500]))
def test_any_json_gives_records_or_a_typed_error(value, status):
    check_any_body(parse_quotes, HttpResponse(status, {}, orjson.dumps(value), RECEIVED_MS), IDS["coinmarketcap"])


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_give_a_typed_error(body):
    check_any_body(parse_quotes, HttpResponse(200, {}, body, RECEIVED_MS), IDS["coinmarketcap"])
