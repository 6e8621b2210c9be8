from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.collecting.unify import ReplaceBy, Rules, settled, unify
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.records import DOLLAR, DOLLAR_COINS, FallbackReason, TickResult, UnifiedRecord, event_id
from tests.support.clock import T0
from tests.support.collection_fakes import answer, failed

BTC, ETH = DEFAULT_ASSETS[0], DEFAULT_ASSETS[1]
RULES = Rules(("coingecko", "coinmarketcap", "kraken"), stale_after_s=900.0, disagree_bps=100.0)
FRESH, OLD, OLDER = T0, T0 - 1_000_000, T0 - 2_000_000
# 36 years.
AHEAD = T0 + 36 * 365 * 86_400_000


def one(results: list[TickResult], absent: dict[str, FallbackReason] | None = None, rules: Rules = RULES) -> UnifiedRecord:
    (record,) = unify(T0, [BTC], rules, {r.provider: r for r in results}, absent or {}).records
    return record


def test_the_primary_is_selected_with_all_its_values():
    values: dict[str, Any] = {
        "source_ts": FRESH, "market_cap": 1.0, "volume_24h": 2.0, "high_24h": 3.0, "low_24h": 4.0, "change_1h_pct": 5.0, "change_24h_pct": 6.0,
        "change_7d_pct": 7.0, "circulating_supply": 8.0, "total_supply": 9.0, "max_supply": 10.0, "rank": 11,
    }  # fmt: skip
    record = one([answer("coingecko", {"bitcoin": 100.0}, ingest_ts=T0 + 50, **values), answer("coinmarketcap", {"bitcoin": 101.0})])
    assert record == UnifiedRecord(
        event_id=event_id("bitcoin", T0, "live"), schema_version=1, kind="live", tick_ts=T0, ingest_ts=T0 + 50, asset_id="bitcoin", symbol="BTC",
        name="Bitcoin", quote_currency="USD", price=100.0, provider="coingecko", provider_asset_id="coingecko:bitcoin", role="primary",
        fallback_reason=None, attempt=1, fetch_id="fetch-coingecko", consensus_price=100.5, consensus_sources=2,
        spread_bps=cast("float", pytest.approx(1 / 100.5 * 10_000)), disagrees=False, **values,
    )  # fmt: skip


@pytest.mark.parametrize("reason", list(FallbackReason))
def test_a_failed_primary_falls_back_with_its_reason(reason):
    record = one([failed("coingecko", reason), answer("coinmarketcap", {"bitcoin": 101.0})])
    assert (record.provider, record.role, record.fallback_reason, record.fetch_id) == ("coinmarketcap", "fallback", reason, "fetch-coinmarketcap")


@pytest.mark.parametrize("reason", [FallbackReason.TIMEOUT, FallbackReason.UNAVAILABLE])
def test_an_absent_primary_falls_back_with_its_reason(reason):
    record = one([answer("coinmarketcap", {"bitcoin": 101.0})], {"coingecko": reason})
    assert (record.role, record.fallback_reason) == ("fallback", reason)


def test_fallback_is_per_asset():
    primary = replace(answer("coingecko", {"bitcoin": 100.0}), asset_failures={"ethereum": FallbackReason.BAD_PAYLOAD})
    unified = unify(T0, [BTC, ETH], RULES, {"coingecko": primary, "coinmarketcap": answer("coinmarketcap", {"bitcoin": 101.0, "ethereum": 7.0})}, {})
    assert [(r.asset_id, r.provider, r.role, r.fallback_reason) for r in unified.records] == [
        ("bitcoin", "coingecko", "primary", None),
        ("ethereum", "coinmarketcap", "fallback", "bad_payload"),
    ]
    assert unified.gaps == {}


def test_a_coin_not_in_the_primary_s_response_is_missing():
    record = one([answer("coingecko", {}), answer("coinmarketcap", {"bitcoin": 101.0})])
    assert record.fallback_reason == "missing_asset"


def test_second_fallback_follows_the_order():
    record = one([failed("coingecko", FallbackReason.AUTH), failed("coinmarketcap", FallbackReason.QUOTA), answer("kraken", {"bitcoin": 99.0})])
    assert (record.provider, record.fallback_reason) == ("kraken", "auth")


@pytest.mark.parametrize(
    ("stamps", "provider", "reason"),
    [
        ({"coingecko": OLD, "coinmarketcap": FRESH}, "coinmarketcap", "stale"),
        ({"coingecko": OLD, "coinmarketcap": None}, "coinmarketcap", "stale"),
        ({"coingecko": None, "coinmarketcap": FRESH}, "coingecko", None),
        ({"coingecko": OLD, "coinmarketcap": OLDER}, "coingecko", None),
        ({"coingecko": OLDER, "coinmarketcap": OLD}, "coinmarketcap", "stale"),
        ({"coingecko": OLD, "coinmarketcap": OLD}, "coingecko", None),
        ({"coingecko": OLD}, "coingecko", None),
        # An invalid stamp, ahead of the local clock or before the first price of any coin: the price counts as stale.
        ({"coingecko": AHEAD, "coinmarketcap": FRESH}, "coinmarketcap", "stale"),
        ({"coingecko": AHEAD, "coinmarketcap": None}, "coinmarketcap", "stale"),
        ({"coingecko": AHEAD, "coinmarketcap": OLD}, "coinmarketcap", "stale"),
        ({"coingecko": AHEAD, "coinmarketcap": AHEAD}, "coingecko", None),
        ({"coingecko": 0, "coinmarketcap": FRESH}, "coinmarketcap", "stale"),
        ({"coingecko": -62_135_596_800_000, "coinmarketcap": FRESH}, "coinmarketcap", "stale"),
        ({"coingecko": 253_402_214_400_000, "coinmarketcap": FRESH}, "coinmarketcap", "stale"),
        # Within the allowed clock skew.
        ({"coingecko": T0 + 60_000, "coinmarketcap": FRESH}, "coingecko", None),
    ],
)
def test_stale_primary_gives_way_only_to_a_fresher_one(stamps, provider, reason):
    record = one([answer(name, {"bitcoin": 100.0}, source_ts=stamp) for name, stamp in stamps.items()])
    assert (record.provider, record.fallback_reason) == (provider, reason)
    stamp = stamps[provider]
    assert record.source_ts == (stamp if stamp is not None and stamp <= T0 + 60_000 else None)


def test_stale_after_exactly_the_limit_is_fresh():
    limit = T0 + 100 - 900_000
    results = [answer("coingecko", {"bitcoin": 1.0}, source_ts=limit), answer("coinmarketcap", {"bitcoin": 1.0}, source_ts=FRESH)]
    assert one(results).provider == "coingecko"
    results[0] = answer("coingecko", {"bitcoin": 1.0}, source_ts=limit - 1)
    assert one(results).provider == "coinmarketcap"


@pytest.mark.parametrize(
    ("prices", "consensus", "spread", "disagrees"),
    [
        ([100.0], 100.0, None, False),
        ([100.0, 100.0], 100.0, 0.0, False),
        ([100.0, 101.0], 100.5, 99.50248756218906, False),
        ([100.0, 101.1], 100.55, 109.39830929885629, True),
        ([150.0, 100.0, 101.0], 101.0, 4950.4950495049505, True),
        ([1.7e308, 1.7e308], 1.7e308, 0.0, False),
        ([1e300, 1e-18], 5e299, 20000.0, True),
        ([1e308, 1e-308, 1e-308], 1e-308, None, True),
    ],
)
def test_consensus(prices, consensus, spread, disagrees):
    record = one([answer(name, {"bitcoin": price}) for name, price in zip(RULES.order, prices, strict=False)])
    assert record.consensus_price == pytest.approx(consensus)
    assert (record.consensus_sources, record.disagrees) == (len(prices), disagrees)
    assert record.spread_bps == (None if spread is None else pytest.approx(spread))


def test_prices_in_other_currencies_are_not_in_the_consensus():
    record = one([answer("coingecko", {"bitcoin": 100.0}), answer("kraken", {"bitcoin": 999.0}, quote_currency="USDT")])
    assert (record.consensus_price, record.consensus_sources, record.disagrees) == (100.0, 1, False)
    alone = one([answer("kraken", {"bitcoin": 999.0}, quote_currency="USDT")])
    assert (alone.quote_currency, alone.consensus_price, alone.consensus_sources, alone.spread_bps) == ("USDT", None, 0, None)


def test_dollar_stablecoins_are_compared_with_dollars_if_configured():
    rules = replace(RULES, currencies=DOLLAR_COINS | {DOLLAR})
    results = [answer("coingecko", {"bitcoin": 100.0}), answer("kraken", {"bitcoin": 102.0}, quote_currency="USDT")]
    record = one(results, rules=rules)
    assert (record.quote_currency, record.consensus_price, record.consensus_sources, record.disagrees) == ("USD", 101.0, 2, True)
    assert one([results[1]], rules=rules).quote_currency == "USDT"
    euro = answer("coinmarketcap", {"bitcoin": 90.0}, quote_currency="EUR")
    assert one([*results, euro], rules=rules).consensus_sources == 2


FOUR = replace(RULES, order=("coingecko", "coinmarketcap", "kraken", "binance"))


@pytest.mark.parametrize(
    ("prices", "by", "chosen", "reason", "disagrees"),
    [
        # 50 % above the median of the others is an outlier; slightly less is not.
        ([150.0, 100.0, 100.0], ReplaceBy.MEDIAN, "coinmarketcap", "outlier", True),
        ([149.9, 100.0, 100.0], ReplaceBy.MEDIAN, "coingecko", None, True),
        ([50.0, 100.0, 100.0], ReplaceBy.MEDIAN, "coinmarketcap", "outlier", True),
        ([150.0, 100.0, 100.0], ReplaceBy.NONE, "coingecko", None, True),
        ([160.0, 102.0, 100.0, 101.0], ReplaceBy.NEXT, "coinmarketcap", "outlier", True),
        ([160.0, 102.0, 100.0, 101.0], ReplaceBy.MEDIAN, "binance", "outlier", True),
        # With an even number, the preferred of the middle two: an actual price of a provider.
        ([1e9, 100.0, 101.0], ReplaceBy.MEDIAN, "coinmarketcap", "outlier", True),
        # A single other price, or others that disagree, do not decide.
        ([150.0, 100.0], ReplaceBy.MEDIAN, "coingecko", None, True),
        ([300.0, 100.0, 200.0], ReplaceBy.MEDIAN, "coingecko", None, True),
        # An outlier that is not selected has no effect.
        ([100.0, 500.0, 100.0], ReplaceBy.NEXT, "coingecko", None, True),
        # Overflow of doubles.
        ([1.7e308, 1e-308, 1e-308], ReplaceBy.NEXT, "coinmarketcap", "outlier", True),
    ],
)
def test_outlier(prices, by, chosen, reason, disagrees):
    results = [answer(name, {"bitcoin": price}) for name, price in zip(FOUR.order, prices, strict=False)]
    record = one(results, rules=replace(FOUR, replace_by=by))
    assert (record.provider, record.fallback_reason, record.disagrees) == (chosen, reason, disagrees)
    assert record.price == prices[FOUR.order.index(chosen)]
    assert record.role == ("primary" if reason is None else "fallback")
    assert record.consensus_sources == len(prices)


def test_an_outlier_is_flagged_however_wide_the_allowed_spread_is():
    results = [answer(name, {"bitcoin": price}) for name, price in zip(FOUR.order, [160.0, 100.0, 100.0], strict=False)]
    assert one(results, rules=replace(FOUR, disagree_bps=1e9)).disagrees
    assert not one(results, rules=replace(FOUR, disagree_bps=1e9, outlier_bps=7000.0)).disagrees


def test_stale_prices_do_not_decide_on_outliers():
    old = [answer(name, {"bitcoin": 100.0}, source_ts=OLD) for name in ("coinmarketcap", "kraken")]
    record = one([answer("coingecko", {"bitcoin": 200.0}, source_ts=FRESH), *old], rules=replace(RULES, replace_by=ReplaceBy.NEXT))
    assert record.provider == "coingecko"


def test_an_outlier_of_a_fallback_is_replaced_with_the_primarys_reason():
    results = [failed("coingecko", FallbackReason.TIMEOUT)]
    results += [answer(name, {"bitcoin": price}) for name, price in zip(FOUR.order[1:], [900.0, 100.0, 100.0], strict=True)]
    record = one(results, rules=replace(FOUR, replace_by=ReplaceBy.NEXT))
    assert (record.provider, record.fallback_reason, record.disagrees) == ("kraken", "timeout", True)


def test_fetch_id_is_the_exchange_of_the_coin():
    result = replace(answer("coingecko", {"bitcoin": 1.0, "ethereum": 2.0}), fetch_ids={"ethereum": "its-own"})
    records = unify(T0, [BTC, ETH], RULES, {"coingecko": result}, {}).records
    assert [record.fetch_id for record in records] == ["fetch-coingecko", "its-own"]


def test_an_asset_without_any_price_is_a_gap_with_the_primarys_reason():
    unified = unify(T0, [BTC, ETH], RULES, {"coingecko": failed("coingecko", FallbackReason.RATE_LIMITED)}, {})
    assert unified.records == ()
    assert unified.gaps == {"bitcoin": FallbackReason.RATE_LIMITED, "ethereum": FallbackReason.RATE_LIMITED}


def test_same_results_give_the_same_bytes():
    results = {"coingecko": answer("coingecko", {"bitcoin": 0.1 + 0.2}), "coinmarketcap": answer("coinmarketcap", {"bitcoin": 0.3})}
    first, second = (unify(T0, [BTC], RULES, dict(order), {}) for order in (results.items(), reversed(results.items())))
    assert first.records[0].to_json() == second.records[0].to_json()
    assert UnifiedRecord.from_json(first.records[0].to_json()) == first.records[0]


@given(st.lists(st.floats(min_value=5e-324, max_value=1.7e308), min_size=1, max_size=3))
def test_consensus_is_finite_and_within_the_prices(prices):
    record = one([answer(name, {"bitcoin": price}) for name, price in zip(RULES.order, prices, strict=False)])
    assert record.consensus_price is not None
    assert min(prices) <= record.consensus_price <= max(prices)
    assert record.spread_bps is None or (math.isfinite(record.spread_bps) and record.spread_bps >= 0)


@pytest.mark.parametrize(
    ("results", "waiting_for", "expected"),
    [
        ([], {"coingecko"}, False),
        ([answer("coingecko", {"bitcoin": 1.0, "ethereum": 1.0})], {"coinmarketcap"}, True),
        ([answer("coingecko", {"bitcoin": 1.0})], {"coinmarketcap"}, False),
        ([answer("coinmarketcap", {"bitcoin": 1.0, "ethereum": 1.0})], {"coingecko"}, False),
        ([failed("coingecko", FallbackReason.AUTH), answer("coinmarketcap", {"bitcoin": 1.0, "ethereum": 1.0})], {"kraken"}, True),
        ([answer("coingecko", {"bitcoin": 1.0, "ethereum": 1.0}, source_ts=OLD)], {"coinmarketcap"}, False),
        ([failed("coingecko", FallbackReason.AUTH)], set(), True),
    ],
)
def test_settled(results, waiting_for, expected):
    assert settled([BTC, ETH], RULES, {r.provider: r for r in results}, frozenset(waiting_for)) is expected
