"""Faults are validated when set, and end with their time or count."""

import pickle

import pytest

from market.coins import replayed_coins
from market.faultbook import ALL_KINDS, BadFault, FaultBook, valid_faults


@pytest.fixture
def book():
    return FaultBook(replayed_coins())


def fault(kind="latency", provider="coingecko", **rest):
    return {"provider": provider, "kind": kind, **rest}


def kinds(faults):
    return [active.kind for active in faults]


def test_a_fault_ends_with_its_duration(book):
    book.add(fault(duration_s=10), now_s=100)
    assert kinds(book.take("coingecko", 109.9)) == ["latency"]
    assert book.active(105)[0]["remaining_s"] == 5
    assert book.take("coingecko", 110) == []
    assert book.active(110) == []


def test_a_fault_ends_with_its_count(book):
    book.add(fault(count=2), now_s=0)
    assert [len(book.take("coingecko", 1)) for _ in range(4)] == [1, 1, 0, 0]


def test_a_fault_meets_every_so_many_requests(book):
    book.add(fault(every=3), now_s=0)
    assert [len(book.take("coingecko", 1)) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]
    book.clear()
    book.add(fault(every=2, count=2), now_s=0)
    assert [len(book.take("coingecko", 1)) for _ in range(7)] == [1, 0, 1, 0, 0, 0, 0]
    with pytest.raises(BadFault, match="every"):
        book.add(fault(every=0), 0)


def test_a_fault_meets_its_provider_only(book):
    book.add(fault("hang"), 0)
    book.add(fault("reset", "*"), 0)
    assert kinds(book.take("coinmarketcap", 1)) == ["reset"]
    assert kinds(book.take("coingecko", 1)) == ["hang", "reset"]


def test_clear_by_provider_by_id_and_all(book):
    for provider in ("coingecko", "coinmarketcap", "coinmarketcap"):
        book.add(fault(provider=provider), 0)
    ended = book.take("coingecko", 0)[0].ended
    assert book.clear(provider="coingecko") == 1
    assert ended.is_set()
    assert book.clear(fault_id=3) == 1
    assert book.clear() == 1
    assert book.active(0) == []


@pytest.mark.parametrize("name", ["bitcoin", "BTC", "btc"])
def test_coins_go_by_any_name(book, name):
    assert book.add(fault("null_price", parameters={"coins": [name]}), 0).asset_ids == {"bitcoin"}


def test_provider_ids_name_coins(book):
    asked = ["28321", "polygon-ecosystem-token", "avalanche-2"]
    assert book.add(fault("null_price", parameters={"coins": asked}), 0).asset_ids == {"polygon", "avalanche"}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (fault("explode"), "unknown kind 'explode'; valid: latency, hang"),
        (fault(provider="nasdaq"), "unknown provider 'nasdaq'; valid: coingecko, coinmarketcap"),
        (fault(parameters={"seconds": -1}), "seconds: Input should be greater than or equal to 0"),
        (fault(parameters={"secs": 1}), "secs: Extra inputs are not permitted"),
        (fault("http_status", parameters={"status": 200}), "status"),
        (fault("null_price", parameters={"coins": ["gold"]}), "unknown coins gold; valid: algorand"),
        (fault("shape_version", parameters={"shape": "v9"}), "unknown shape 'v9' of coingecko; valid: camel_case, wrapped"),
        (fault("shape_version"), "shape: Field required"),
        (fault(duration_s=0), "duration_s"),
        (fault(count=0), "count"),
        (fault(surprise=1), "surprise"),
        ([], "body"),
        ("latency", "body"),
        (None, "body"),
    ],
)
def test_a_bad_fault_says_what_is_valid(book, payload, says):
    with pytest.raises(BadFault) as refused:
        book.add(payload, 0)
    assert says in str(refused.value)
    assert book.active(0) == []


def test_bad_fault_pickles():
    assert str(pickle.loads(pickle.dumps(BadFault("no such kind")))) == "no such kind"


def test_every_kind_is_described():
    described = valid_faults()["kinds"]
    assert set(described) == set(ALL_KINDS)
    assert all(kind["effect"] for kind in described.values())
