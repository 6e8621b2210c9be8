"""Settings of the trade streams: off by default, and then nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from control.reconcile.components import build_table
from cryptoviz.components import ComponentKind
from cryptoviz.settings import Settings, load_settings
from cryptoviz.settings.streams import RawFrames
from spark_jobs.tables.record_spec import topic_specs
from tests.support.settings import refused

ON: dict[str, Any] = {"venues": ["binance", "kraken"], "instruments": ["BTC", "ETH"]}


def streams_of(settings: Settings) -> list[str]:
    return [name for name, spec in build_table(settings).items() if spec.kind is ComponentKind.STREAM]


@pytest.mark.parametrize("profile", ["live", "demo"])
def test_without_a_venue_there_is_no_topic_no_table_and_no_component(profile: Any, tmp_path: Path) -> None:
    settings = load_settings(profile, home=tmp_path)
    assert settings.stream_topics == {}
    assert [spec.table for spec in topic_specs(settings).values()] == ["prices", "raw"]
    assert streams_of(settings) == []


def test_with_venues_the_lake_reads_their_topics(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, streams=ON | {"shards": 2})
    assert settings.stream_topics == {"crypto-trades": 1, "crypto-trade-gaps": 1, "crypto-venue-candles": 1}
    assert {topic: spec.table for topic, spec in topic_specs(settings).items()} == {
        "crypto-streaming": "prices", "crypto-raw-data": "raw", "crypto-trades": "trades", "crypto-trade-gaps": "trade_gaps",
        "crypto-venue-candles": "venue_candles",
    }  # fmt: skip
    assert streams_of(settings) == ["stream/binance", "stream/binance-2", "stream/kraken", "stream/kraken-2"]
    assert not settings.streams.quotes


def test_quotes_have_a_topic_and_a_table_while_both_are_on(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, streams=ON | {"quote_s": 1})
    assert settings.stream_topics == {"crypto-trades": 1, "crypto-trade-gaps": 1, "crypto-venue-candles": 1, "crypto-quotes": 1}
    assert topic_specs(settings)["crypto-quotes"].table == "quotes"
    alone = load_settings(home=tmp_path, streams={"quote_s": 1})
    assert alone.stream_topics == {}
    assert "crypto-quotes" not in topic_specs(alone)


def test_frames_have_a_topic_with_a_retention_of_its_own_while_both_are_on(tmp_path: Path) -> None:
    off = load_settings(home=tmp_path, streams=ON)
    assert (off.streams.raw, off.streams.raw_frames) == (RawFrames.OFF, False)
    for mode in ("sample", "all"):
        settings = load_settings(home=tmp_path, streams=ON | {"raw": mode, "raw_keep_hours": 2})
        assert settings.stream_topics == off.stream_topics | {"crypto-frames": 1}
        assert settings.topic_limits == {"crypto-frames": {"retention.ms": "7200000"}}
        assert "crypto-frames" not in topic_specs(settings)
    assert load_settings(home=tmp_path, streams={"raw": "all"}).stream_topics == {}


def test_the_demo_streams_from_the_replay_market(tmp_path: Path) -> None:
    settings = load_settings("demo", home=tmp_path, streams=ON, market={"port": 7777})
    found = {name: (str(own.stream_url), str(own.refill_url)) for name, own in settings.streams.venue.items()}
    assert found == {
        "binance": ("ws://127.0.0.1:7777/binance", "http://127.0.0.1:7777/binance"),
        "kraken": ("ws://127.0.0.1:7777/kraken/v2", "http://127.0.0.1:7777/kraken"),
    }
    assert build_table(settings)["stream/kraken"].depends_on == ("kafka", "market-replay")


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"venues": ["binanc"]}, "CRYPTOVIZ_STREAMS__VENUES contains 'binanc' (did you mean binance?): valid are binance, kraken, coinbase"),
        ({"venues": ["kraken", "kraken"]}, "CRYPTOVIZ_STREAMS__VENUES contains 'kraken' more than once"),
        ({"venue": {"mtgox": {}}}, "CRYPTOVIZ_STREAMS__VENUE contains 'mtgox'"),
        (ON | {"quote_s": 0.05}, "valid are 0, and 0.1 or more"),
        (ON | {"raw": "some"}, "'off', 'sample' or 'all'"),
        (ON | {"raw": "sample", "raw_sample_min": 1}, "greater than or equal to 2"),
        (ON | {"shards": 3}, "CRYPTOVIZ_STREAMS__SHARDS is 3, and binance has 2 of the coins"),
        (ON | {"venue": {"kraken": {"stream_url": "https://ws.kraken.com"}}}, "valid is ws://host:port/path or wss://host:port/path"),
    ],
)
def test_what_cannot_work_is_refused(streams: dict[str, Any], message: str) -> None:
    assert message in str(refused(streams=streams))
