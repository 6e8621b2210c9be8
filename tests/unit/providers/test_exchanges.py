"""The parsers of Binance, Kraken, CoinPaprika and Coinbase on the corpus and on anything else."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoviz.providers.binance import parse_tickers as parse_binance
from cryptoviz.providers.coinbase import parse_product
from cryptoviz.providers.coinpaprika import parse_tickers as parse_coinpaprika
from cryptoviz.providers.kraken import parse_ticker
from cryptoviz.providers.response import HttpResponse
from tests.support.corpus import IDS, PAIRS, RECEIVED_MS, Case, cases
from tests.unit.providers.json_values import AMOUNT, JSON, STATUS
from tests.unit.providers.parser_checks import Parse, check_any_body, check_case, with_pairs

PARSERS: dict[str, Parse] = {"binance": parse_binance, "kraken": parse_ticker, "coinpaprika": parse_coinpaprika, "coinbase": parse_product}
ANY = JSON | AMOUNT
BINANCE = st.fixed_dictionaries(
    {"symbol": st.sampled_from(sorted(IDS["binance"])) | JSON},
    optional=dict.fromkeys(("lastPrice", "closeTime", "firstId", "count", "quoteVolume", "highPrice", "lowPrice", "priceChangePercent"), ANY),
)
KRAKEN = st.fixed_dictionaries({}, optional=dict.fromkeys("cvplh", st.lists(ANY, max_size=3) | ANY))
KEYS = st.sampled_from([*IDS["kraken"], *(pair.key for pair in PAIRS["kraken"].values())]) | st.text(max_size=5)
USD = st.fixed_dictionaries({}, optional=dict.fromkeys(("price", "market_cap", "volume_24h", "percent_change_24h"), ANY))
COINPAPRIKA = st.fixed_dictionaries(
    {"id": st.sampled_from(sorted(IDS["coinpaprika"])) | JSON},
    optional={"quotes": JSON | st.fixed_dictionaries({"USD": USD | JSON}), "rank": JSON, "max_supply": JSON, "last_updated": JSON},
)
COINBASE = st.fixed_dictionaries(
    {"price": ANY},
    optional={"product_id": st.just("BTC-USD") | JSON, "status": st.just("online") | JSON, "trading_disabled": JSON, "time": JSON}
    | dict.fromkeys(("approximate_quote_24h_volume", "price_percentage_change_24h", "market_cap"), ANY),
)
ERROR = st.fixed_dictionaries({}, optional={"error": JSON | st.lists(JSON, max_size=2), "code": JSON, "msg": JSON, "message": JSON})
BODIES = {
    "binance": st.lists(BINANCE | JSON, max_size=4),
    "kraken": st.fixed_dictionaries({"error": st.just([]) | JSON, "result": st.dictionaries(KEYS, KRAKEN | JSON, max_size=4) | JSON}),
    "coinpaprika": st.lists(COINPAPRIKA | JSON, max_size=4) | COINPAPRIKA,
    "coinbase": COINBASE,
}


@pytest.mark.parametrize(
    ("provider", "case"), [(name, case) for name in PARSERS for case in cases(name)], ids=lambda value: getattr(value, "name", value)
)
def test_corpus(provider: str, case: Case):
    check_case(with_pairs(PARSERS[provider], case), case, IDS[provider])


@pytest.mark.parametrize("provider", PARSERS)
@given(data=st.data(), status=STATUS)
def test_any_json_gives_records_or_a_typed_error(provider: str, data, status):
    value = data.draw(BODIES[provider] | ERROR | JSON)
    check_any_body(PARSERS[provider], HttpResponse(status, {}, orjson.dumps(value), RECEIVED_MS), IDS[provider])


@pytest.mark.parametrize("provider", PARSERS)
@given(body=st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_give_a_typed_error(provider: str, body):
    check_any_body(PARSERS[provider], HttpResponse(200, {}, body, RECEIVED_MS), IDS[provider])
