"""The inputs of the benchmarks are valid for the current settings."""

from __future__ import annotations

from bench.collect.bodies import assets, bodies
from bench.collect.parsing import PARSERS, parse
from bench.collect.tick import with_assets
from cryptoviz.settings import load_settings

BROKER = load_settings(kafka={"bootstrap_servers": "127.0.0.1:9092", "security_protocol": "PLAINTEXT"})


def test_a_thousand_assets_are_valid_and_each_has_a_price_in_the_bodies() -> None:
    listed = assets(1_000)
    assert len(with_assets(BROKER, listed).crypto_list) == 1_000
    found = bodies(1_000)
    for name, parser in PARSERS.items():
        ids = {asset.provider_ids[name]: asset.asset_id for asset in listed}
        result = parse(name, parser, found[name], ids, 1_000, 1_000)
        assert set(result.observations) == {asset.asset_id for asset in listed}, name
