"""Facts of a provider that cannot be right are refused where its module is imported."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from cryptoviz.errors import SpecError
from cryptoviz.providers import Cost, IdFormat, Plan, ProviderSpec, one_call_for_each
from cryptoviz.settings import ProviderSettings


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"name": "Acme"}, "name is 'Acme': valid are up to 32 of a-z, 0-9, - and single _"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"name": "../../x"}, "name is '../../x'"),
        ({"name": "a__b"}, "name is 'a__b'"),
        ({"name": ""}, "name is ''"),
        ({"name": None}, "name is None"),
        ({"name": "acme\n"}, "name is 'acme\\n'"),
        ({"base_url": "not a url"}, "base_url of acme is 'not a url'"),
        ({"base_url": None}, "base_url of acme is None: valid is an address"),
        ({"base_url": "ftp://h"}, "base_url of acme is 'ftp://h': ftp:// is not supported; valid is https://host:port/path or http://host:port/path"),
        ({"base_url": "https://"}, "base_url of acme is 'https://': it has no host; valid is https://host:port/path"),
        ({"base_url": "https:///v1"}, "it has no host; valid is"),
        ({"base_url": "https://:443"}, "it has no host; valid is"),
        ({"base_url": "https://a_b..c"}, "its host is not valid; valid is"),
        ({"base_url": "https://h:0"}, "its port is not valid; valid is"),
        ({"base_url": "https://h:65536/v1"}, "its port is not valid; valid is"),
        ({"base_url": "https://h:"}, "its port is not valid; valid is"),
        ({"base_url": "https://[::1"}, "base_url of acme is 'https://[::1': Invalid IPv6 URL; valid is https://host:port/path"),
        (
            {"base_url": "https://canary-u:canary-p@h"},
            "base_url of acme is 'https://********@h': it contains a user or password, which have their own settings; valid is",
        ),
        ({"base_url": "https://canary@h"}, "it contains a user or password, which have their own settings; valid is"),
        ({"base_url": "https://h/v1?currency=usd"}, "it contains a query; valid is"),
        ({"base_url": "https://h?"}, "it contains a query; valid is"),
        ({"base_url": "https://h/#prices"}, "it contains a fragment; valid is"),
        ({"base_url": "https://h#"}, "it contains a fragment; valid is"),
        ({"base_url": " https://h"}, "character 1 of 10 is not a visible ASCII character"),
        ({"base_url": "https://h/a b"}, "character 12 of 13 is not a visible ASCII character"),
        ({"base_url": "https://h\n"}, "character 10 of 10 is not a visible ASCII character"),
        ({"base_url": "https://h\u00e9"}, "character 10 of 10 is not a visible ASCII character"),
        (
            {"plans": {"free": Plan(), "pro": Plan()}, "plan_base_urls": {"pro": "https://h:99999"}},
            "plan_base_urls['pro'] of acme is 'https://h:99999': its port is not valid",
        ),
        ({"plans": {"pro": Plan()}, "key_headers": {"pro": "x-key: "}}, "key_headers['pro'] of acme is 'x-key: ': valid is the name of a header"),
        ({"plans": {"pro": Plan()}, "key_headers": {"pro": ""}}, "key_headers['pro'] of acme is ''"),
        ({"plans": {"": Plan(), "pro": Plan()}}, "plans of acme are '', 'pro'"),
        ({"plans": {"free": Plan()}, "key_headers": {"pad": "x"}}, "key_headers of acme names the plans 'pad'"),
        ({"plans": {"free": Plan()}, "plan_base_urls": {"pro": "https://h"}}, "plan_base_urls of acme names the plans 'pro'"),
        ({"min_interval_s": -1.0}, "min_interval_s of acme is -1.0"),
        ({"min_interval_s": math.nan}, "min_interval_s of acme is nan"),
        ({"listing_weight": 0}, "listing_weight of acme is 0"),
        ({"cost": lambda assets: assets}, "cost of acme for 1 assets is 1: valid is a Cost"),
        ({"asset_ids": {"bitcoin": "b", "ethereum": "b"}}, "the id of 'ethereum' in asset_ids of acme is 'b', which is also that of 'bitcoin'"),
        ({"asset_ids": {"bitcoin": "5", "ethereum": "005"}, "normal_id": lambda text: text.lstrip("0")}, "which is also that of 'bitcoin'"),
        ({"asset_ids": {"bitcoin": ""}}, "the id of 'bitcoin' in asset_ids of acme is ''"),
        ({"asset_ids": {"bitcoin": "a b"}}, "is 'a b': valid is text without white space"),
        ({"asset_ids": {"bitcoin": 1}}, "is 1: valid is text"),
        ({"asset_ids": {"bitcoin": "abc"}, "id_format": IdFormat(re.compile("[0-9]+"), "a number")}, "is 'abc': valid is a number"),
    ],
)
def test_facts_that_cannot_be_right(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)) as refused:
        ProviderSpec(**{"name": "acme", "base_url": "https://api.acme.example"} | facts)
    assert isinstance(refused.value, ValueError)
    assert refused.value.attribute in facts
    assert refused.value.attribute in refused.value.message
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["https://h", "http://127.0.0.1:1", "http://[::1]:8080/v1", "https://api.acme.example/v1/", "https://h:65535/a%20b", "https://h./@x"]
)
def test_addresses_that_can_be_right(address: str) -> None:
    spec = ProviderSpec(name="acme", base_url=address)
    assert spec.root(ProviderSettings()) == address.rstrip("/")


@pytest.mark.parametrize("limits", [{"per_minute": -5}, {"per_day": 0}, {"per_month": 0}, {"reserve": 1.0}, {"reserve": -0.1}])
def test_limits_that_cannot_be_right(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="valid"):
        Plan(**limits)


@pytest.mark.parametrize(("calls", "weight"), [(0, 1), (1, 0), (-1, 1)])
def test_a_poll_costs_something(calls: int, weight: int) -> None:
    with pytest.raises(ValueError, match="valid are 1 or more"):
        Cost(calls, weight)
    with pytest.raises(ZeroDivisionError):
        ProviderSpec(name="acme", base_url="https://h", cost=one_call_for_each(0))


@pytest.mark.parametrize("key", [None, "k"])
def test_the_only_plan_is_the_default_with_and_without_a_key(key: str | None) -> None:
    spec = ProviderSpec(name="acme", base_url="https://h", plans={"free": Plan(per_day=7)})
    assert spec.plan(ProviderSettings(api_key=key)) == Plan(per_day=7)
