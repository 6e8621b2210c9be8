"""What is counted, kept, refused and learned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from redis.exceptions import RedisError

from actors.quota.meter import Meter
from actors.quota.store import FileStore, RedisStore, decode_usage, encode_usage
from actors.quota.usage import Usage
from cryptoviz.errors import BadPayload, CryptoVizError
from cryptoviz.plans import cost_of, plan_of, plans_of
from cryptoviz.providers.account import Account
from cryptoviz.providers.coingecko import parse_key as parse_coingecko_key
from cryptoviz.providers.coinmarketcap import parse_key_info as parse_coinmarketcap_key
from cryptoviz.providers.plan import Cost, Period, Plan
from cryptoviz.providers.response import HttpResponse
from cryptoviz.settings import ProviderSettings, RedisSettings, load_settings
from tests.support.clock import T0, FakeClock
from tests.support.usage_store import MemoryStore

DAY_MS = 86_400_000


async def test_a_call_past_the_limit_is_refused_until_the_period_ends():
    clock, store = FakeClock(T0), MemoryStore()
    meter = Meter(Plan(per_day=2), [store], clock)
    assert [await meter.charge() for _ in range(3)] == [None, None, Period.DAY]
    assert meter.usage.day_used == 2
    clock.ms = meter.resets_ms(Period.DAY)
    assert await meter.charge() is None
    assert meter.usage.day_used == 1


async def test_every_count_is_kept_before_the_call_and_survives_a_restart(tmp_path: Path):
    clock, path = FakeClock(T0), tmp_path / "run" / "quota.json"
    first = Meter(Plan(per_month=3), [FileStore(path), MemoryStore()], clock)
    for _ in range(2):
        await first.charge()
    second = Meter(Plan(per_month=3), [FileStore(path)], clock)
    await second.load()
    assert second.usage.month_used == 2
    assert [await second.charge(), await second.charge()] == [None, Period.MONTH]


async def test_the_store_that_knows_of_more_counts(tmp_path: Path):
    clock = FakeClock(T0)
    stale, fresh = MemoryStore(), MemoryStore()
    stale.usage = Usage().charged(3, T0)
    fresh.usage = Usage().charged(9, T0).took_turn(T0)
    older = MemoryStore()
    older.usage = Usage().charged(50, T0 - 40 * DAY_MS)
    meter = Meter(Plan(), [stale, fresh, older, FileStore(tmp_path / "absent")], clock)
    await meter.load()
    assert (meter.usage.month_used, meter.usage.day_used, meter.usage.last_turn_ms) == (9, 9, T0)


async def test_users_of_one_store_count_each_other_s_calls():
    clock, store = FakeClock(T0), MemoryStore()
    scraper, backfill = (Meter(Plan(per_month=5), [store], clock) for _ in range(2))
    await scraper.load()
    await backfill.load()
    assert [await each.charge() for each in (scraper, backfill, backfill, scraper, backfill, scraper)] == [None] * 5 + [Period.MONTH]
    assert store.usage.month_used == 5


async def test_a_redis_that_did_not_answer_at_first_keeps_its_count(monkeypatch: pytest.MonkeyPatch):
    clock = FakeClock(T0)
    redis = RedisStore(RedisSettings(), "coingecko", clock)
    values, down = {"coingecko": encode_usage(Usage().charged(900, T0))}, True

    async def hget(key: str, field: str) -> bytes | None:
        if down:
            raise RedisError
        return values.get(field)

    async def hset(key: str, field: str, value: bytes) -> None:
        values[field] = value

    monkeypatch.setattr(redis, "_client", SimpleNamespace(hget=hget, hset=hset))
    meter = Meter(Plan(per_month=902), [redis], clock)
    await meter.load()
    down = False
    assert await meter.charge() is None  # as if Redis were still away: it is asked again after a few seconds
    assert decode_usage(values["coingecko"]).month_used == 900
    await clock.sleep(6)
    assert [await meter.charge() for _ in range(3)] == [None, None, Period.MONTH]
    assert decode_usage(values["coingecko"]).month_used == 902


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"day_ms": 1}', b'{"day_ms":1,"day_used":-1,"month_ms":1,"month_used":0,"last_turn_ms":0}'])
async def test_an_unreadable_file_is_empty(tmp_path: Path, content: bytes):
    path = tmp_path / "quota.json"
    path.write_bytes(content)
    assert await FileStore(path).load() == Usage()


def test_usage_survives_its_encoding():
    usage = Usage(1, 2, 3, 4, 5)
    assert decode_usage(encode_usage(usage)) == usage


async def test_a_provider_s_own_account_goes_before_the_settings():
    clock = FakeClock(T0)
    meter = Meter(Plan(per_minute=30, per_month=10_000), [], clock)
    await meter.charge()
    await meter.learn(Account(per_month=100_000, month_used=700))
    assert meter.plan == Plan(per_minute=30, per_month=100_000)
    assert meter.usage.month_used == 700
    await meter.learn(Account(month_used=3))
    assert meter.usage.month_used == 700


def response(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, orjson.dumps(body), T0)


def test_coingecko_s_account():
    body = {"plan": "Demo", "rate_limit_request_per_minute": 30, "monthly_call_credit": 10_000, "current_remaining_monthly_calls": 9_000}
    assert parse_coingecko_key(response(body)) == Account(per_minute=30, per_month=10_000, month_used=1_000)


def test_coinmarketcap_s_account():
    data = {
        "plan": {"credit_limit_daily": 333, "credit_limit_monthly": 10_000, "rate_limit_minute": 30},
        "usage": {"current_day": {"credits_used": 5, "credits_left": 328}, "current_month": {"credits_used": 77}},
    }
    account = parse_coinmarketcap_key(response({"status": {"error_code": 0}, "data": data}))
    assert account == Account(per_minute=30, per_day=333, per_month=10_000, day_used=5, month_used=77)


@pytest.mark.parametrize(
    "body", [{}, {"data": None}, {"data": {"plan": [], "usage": 3}}, {"monthly_call_credit": "many"}, {"data": {"plan": {"rate_limit_minute": True}}}]
)
@pytest.mark.parametrize("parse", [parse_coingecko_key, parse_coinmarketcap_key])
def test_an_account_that_says_nothing_changes_nothing(parse, body):
    assert parse(response(body)) == Account()


@pytest.mark.parametrize("parse", [parse_coingecko_key, parse_coinmarketcap_key])
def test_a_refused_account_is_a_typed_error(parse):
    with pytest.raises(CryptoVizError):
        parse(response({}, 401))
    with pytest.raises(BadPayload):
        parse(response([]))


@pytest.mark.parametrize(
    ("name", "own", "plan"),
    [
        ("coingecko", ProviderSettings(), Plan(per_minute=10)),
        ("coingecko", ProviderSettings(api_key="k"), Plan(per_minute=30, per_month=10_000)),
        ("coingecko", ProviderSettings(api_key="k", plan="pro"), Plan()),
        ("coingecko", ProviderSettings(base_url="http://127.0.0.1:1"), Plan()),
        ("coingecko", ProviderSettings(base_url="http://127.0.0.1:1", quota={"per_day": 5, "reserve": 0.2}), Plan(per_day=5, reserve=0.2)),
        ("coinmarketcap", ProviderSettings(api_key="k"), Plan(per_minute=30, per_month=10_000)),
        ("coinmarketcap", ProviderSettings(api_key="k", quota={"per_month": 0}), Plan(per_minute=30)),
        ("coinpaprika", ProviderSettings(), Plan(per_month=20_000)),
        ("coinpaprika", ProviderSettings(plan="free"), Plan(per_month=20_000)),
        ("coinpaprika", ProviderSettings(plan="free", api_key="k"), Plan(per_month=20_000)),
        ("coinpaprika", ProviderSettings(api_key="k"), Plan()),
    ],
)
def test_the_plan_that_holds(name, own, plan):
    assert plan_of(name, own) == plan


@pytest.mark.parametrize(
    ("name", "assets", "cost"),
    [
        ("coingecko", 17, Cost(1)),
        ("coingecko", 251, Cost(2)),
        ("coinmarketcap", 101, Cost(2)),
        ("coinbase", 17, Cost(17)),
        ("binance", 17, Cost(1, 2)),
        ("binance", 21, Cost(1, 40)),
        ("binance", 101, Cost(1, 80)),
    ],
)
def test_what_a_poll_costs(name, assets, cost):
    assert cost_of(name, assets) == cost


def test_all_scrapers_reckon_from_the_same_plans():
    settings = load_settings(collect={"providers": ["coingecko", "kraken", "binance"]}, providers={"kraken": {"enabled": False}})
    assert list(plans_of(settings)) == ["coingecko", "binance"]
