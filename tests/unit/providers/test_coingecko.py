from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoviz.errors import SettingsError
from cryptoviz.providers.coingecko import CoinGeckoProvider, parse_markets
from cryptoviz.providers.response import HttpResponse
from cryptoviz.settings import ProviderSettings
from tests.support.corpus import IDS, RECEIVED_MS, Case, cases
from tests.unit.providers.json_values import JSON
from tests.unit.providers.parser_checks import check_any_body, check_case

# Coins that look right with any JSON in the fields that are read, so that the search gets past the front door.
FIELDS = (
    "current_price",
    "market_cap",
    "market_cap_rank",
    "total_volume",
    "last_updated",
    "circulating_supply",
    "high_24h",
    "price_change_percentage_24h",
)
COIN = st.fixed_dictionaries({"id": st.sampled_from(sorted(IDS["coingecko"]))}, optional=dict.fromkeys(FIELDS, JSON))
ERROR = st.fixed_dictionaries(
    {}, optional={"status": JSON | st.fixed_dictionaries({"error_code": JSON, "error_message": JSON}), "error_code": JSON, "error": JSON}
)


@pytest.mark.parametrize("case", cases("coingecko"), ids=lambda case: case.name)
def test_corpus(case: Case):
    check_case(parse_markets, case, IDS["coingecko"])


@given(JSON | st.lists(COIN | JSON, max_size=5) | ERROR, st.sampled_from([200, 200, 200, 400, 401, 403, 429, 500]))
def test_any_json_gives_records_or_a_typed_error(value, status):
    check_any_body(parse_markets, HttpResponse(status, {}, orjson.dumps(value), RECEIVED_MS), IDS["coingecko"])


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_give_a_typed_error(body):
    check_any_body(parse_markets, HttpResponse(200, {}, body, RECEIVED_MS), IDS["coingecko"])


@pytest.mark.parametrize(
    ("own", "base_url"),
    [
        (ProviderSettings(), "https://api.coingecko.com/api/v3"),
        (ProviderSettings(api_key="k"), "https://api.coingecko.com/api/v3"),
        (ProviderSettings(api_key="k", plan="pro"), "https://pro-api.coingecko.com/api/v3"),
        (ProviderSettings(api_key="k", plan="pro", base_url="http://127.0.0.1:1/coingecko/"), "http://127.0.0.1:1/coingecko"),
    ],
)
def test_host_follows_the_plan(own, base_url):
    assert CoinGeckoProvider.spec.root(own) == base_url


@pytest.mark.parametrize("own", [ProviderSettings(plan="pro"), ProviderSettings(plan="demo"), ProviderSettings(plan="gold")])
def test_a_plan_without_key_or_unknown_is_refused(own):
    with pytest.raises(SettingsError, match="CRYPTOVIZ_PROVIDERS__COINGECKO__PLAN"):
        CoinGeckoProvider.spec.root(own)
