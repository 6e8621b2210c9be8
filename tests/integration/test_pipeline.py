"""The whole path of a price: market, actors, Kafka, lake, control, command line."""

from __future__ import annotations

import json
import re
import ssl
from collections import Counter
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from prometheus_client.parser import text_string_to_metric_families

from control.metrics.names import exported
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.masking import MASK
from cryptoviz.records import FallbackReason, Kind, UnifiedRecord
from tests.support.clock import now_ms
from tests.support.external_engines import KAFKA_PASSWORD, S3_SECRET
from tests.support.pipeline import Demo, keys, parse
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

PROVIDERS = ("coingecko", "coinmarketcap")
DAY = r"year=\d{4}/month=([1-9]|1[0-2])/day=([1-9]|[12]\d|3[01])"
PART = re.compile(DAY + r"/part-([0-9a-f]{8}-\d+-\d+-\d+\.snappy|compacted-[0-9a-f]{16}\.zstd)\.parquet")


def newest_tick(demo: Demo) -> list[UnifiedRecord]:
    """The records of the last published tick."""
    records = list(demo.stream().values())
    last = max(record.tick_ts for record in records)
    return [record for record in records if record.tick_ts == last]


def await_ticks(demo: Demo, count: int) -> None:
    """Wait for `count` published ticks that began after this call."""
    since = now_ms()
    eventually(lambda: len({record.tick_ts for record in demo.recent() if record.tick_ts > since}) >= count, 120, 0.3)


def quiet(demo: Demo) -> None:
    """Stop collection and wait until the lake has everything."""
    demo.cli("stop", "scraper/coingecko", "scraper/coinmarketcap", "collector")
    demo.await_states(scraper__coingecko="STOPPED", scraper__coinmarketcap="STOPPED", collector="STOPPED")
    eventually(lambda: demo.metric("lake", "lag_records") == 0, 120, 0.3)
    expected = len(demo.stream())
    eventually(lambda: len(demo.lake_rows_by_delta()) >= expected, 120, 0.5)


def closed_ticks(exchanges: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What the collector recorded of each tick."""
    return {one["tick_ts"]: orjson.loads(one["body"]) for one in exchanges if (one["provider"], one["endpoint"]) == (RECORDER, TICK)}


def resume(demo: Demo) -> None:
    """Start collection."""
    demo.cli("start", "collector", "scraper/coingecko", "scraper/coinmarketcap")


def test_lake_holds_every_row_the_market_served_once_for_both_readers(demo: Demo) -> None:
    eventually(lambda: demo.metric("collector", "records_published_total") >= 1000, 180, 0.5)
    quiet(demo)
    served = demo.request_log()
    records, exchanges = demo.stream(), demo.exchanges()
    by_delta, by_folder = demo.lake_rows_by_delta(), demo.lake_rows_by_folder()
    resume(demo)

    assert len(records) >= 1000
    expected = Counter(dict.fromkeys(records, 1))
    assert keys(by_delta) == expected
    assert keys(by_folder) == expected
    for rows in (by_delta, by_folder):
        assert max(Counter(row["event_id"] for row in rows).values()) == 1
    # Values, not only keys: each row equals Kafka's record, and a live price is in the market's request log (test_unseen.py compares filled ones).
    prices = {(entry["provider"], asset, price) for entry in served if entry["status"] == 200 for asset, price in entry["prices"].items()}
    for row in by_folder:
        record = records[row["kafka_partition"], row["kafka_offset"]]
        assert (row["event_id"], row["price"], row["provider"], row["role"]) == (record.event_id, record.price, record.provider, record.role)
        if record.kind == Kind.LIVE:
            assert (row["provider"], row["provider_asset_id"], row["price"]) in prices, record
    # Every good response of the primary is an exchange in Kafka, except at a stop or start of the collector and after the end of its poll.
    own = [one for one in exchanges if one["provider"] == "coingecko"]
    good = {one["fetch_id"] for one in own if one["outcome"] == "ok"}
    answers = [entry for entry in served if entry["provider"] == "coingecko" and entry["status"] == 200 and len(entry["prices"]) == 17]
    assert len(answers) - len(good) <= 3 + sum(one["outcome"] == FallbackReason.TIMEOUT for one in own)
    # Each exchange is 17 records, or its tick's own record says that the result was not there when the tick was closed.
    ticks = closed_ticks(exchanges)
    used = {
        tick["results"]["coingecko"]["fetch_id"]
        for tick in ticks.values()
        if "coingecko" in tick["results"] and "failure" not in tick["results"]["coingecko"]
    }
    unified = Counter(record.fetch_id for record in records.values() if record.kind == Kind.LIVE and record.provider == "coingecko")
    assert unified == Counter(dict.fromkeys(used, 17))
    assert used <= good
    unused = [ticks[one["tick_ts"]] for one in own if one["fetch_id"] in good - used and one["tick_ts"] in ticks]
    reasons = {tick["absent"].get("coingecko") or tick["results"]["coingecko"].get("failure") for tick in unused}
    assert reasons <= {FallbackReason.TIMEOUT, FallbackReason.UNAVAILABLE}


def test_layout_names_and_compression_are_as_documented(demo: Demo) -> None:
    def listed() -> DeltaTable | None:
        table = DeltaTable(f"s3://{demo.settings.s3.prices_bucket}", storage_options=demo.settings.s3.storage_options())
        return table if any(uri.endswith(".snappy.parquet") for uri in table.file_uris()) else None

    table = eventually(listed, 120, 0.3)  # maintenance may just have merged all
    files = table.file_uris()
    assert table.metadata().partition_columns == ["year", "month", "day"]
    for uri in files:
        relative = uri.removeprefix(f"s3://{demo.settings.s3.prices_bucket}/")
        assert PART.fullmatch(relative), relative
    one_of_each = {uri.split(".")[-2]: uri for uri in files}
    assert "snappy" in one_of_each
    for codec, uri in one_of_each.items():
        found = pq.ParquetFile(uri.removeprefix("s3://"), filesystem=demo.s3()).metadata
        assert {found.row_group(0).column(index).compression for index in range(found.num_columns)} == {codec.upper()}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"kind": "http_status", "parameters": {"status": 500}}, "unavailable"),
        ({"kind": "html_200"}, "bad_payload"),
        ({"kind": "hang"}, "timeout"),
        ({"kind": "http_status", "parameters": {"status": 429}}, "rate_limited"),
    ],
    ids=["500", "html", "hang", "429"],
)
def test_failing_primary_falls_back_within_a_tick_and_returns(demo: Demo, spec: dict[str, Any], reason: str) -> None:
    eventually(lambda: {record.role for record in newest_tick(demo)} == {"primary"}, 120, 0.3)
    before = max(record.tick_ts for record in newest_tick(demo))
    with demo.fault(provider="coingecko", **spec):
        await_ticks(demo, 6)
    eventually(lambda: {record.role for record in newest_tick(demo)} == {"primary"}, 120, 0.3)
    exchanges = [exchange for exchange in demo.exchanges() if exchange["tick_ts"] > before]
    ticks = closed_ticks(exchanges)
    during = [record for record in demo.stream().values() if before < record.tick_ts <= max(ticks)]
    # Each tick with a failed poll has the other provider's prices, or none if a busy machine delivered the response after the tick.
    answered = {one["tick_ts"] for one in exchanges if one["provider"] == "coingecko" and one["outcome"] == "ok"}
    asked = {one["tick_ts"] for one in exchanges if one["provider"] == "coingecko"}
    in_time = {tick_ts for tick_ts, tick in ticks.items() if "failure" not in tick["results"].get("coinmarketcap", {"failure": "absent"})}
    failed = (asked - answered) & in_time
    assert {(record.tick_ts, record.role) for record in during if record.tick_ts in failed} == {(tick_ts, "fallback") for tick_ts in failed}
    assert failed
    fallbacks = [record for record in during if record.role == "fallback"]
    # A busy machine may deliver a response too late, and a fault that then lasts more ticks opens the breaker.
    assert {reason} <= {record.fallback_reason for record in fallbacks} <= {reason, "timeout", "breaker_open", "unavailable"}
    assert {record.provider for record in fallbacks} == {"coinmarketcap"}
    assert {record.asset_id for record in fallbacks} == {asset.asset_id for asset in demo.settings.assets}


def test_stopped_scraper_is_reported_and_its_coins_come_from_the_other(demo: Demo) -> None:
    with demo.control() as client:
        client.stop("scraper/coingecko")
        stopped = client.wait(120.0, lambda pipeline: str(getattr(pipeline.component("scraper/coingecko"), "state", "")) == "STOPPED")
        component = stopped.component("scraper/coingecko")
        assert component is not None
        assert (str(component.desired), str(component.trigger)) == ("STOPPED", "operator")
    eventually(lambda: {(r.provider, r.fallback_reason) for r in newest_tick(demo)} == {("coinmarketcap", "unavailable")}, 60, 0.3)
    demo.cli("start", "scraper/coingecko")
    eventually(lambda: {record.role for record in newest_tick(demo)} == {"primary"}, 120, 0.3)


def test_stopped_lake_catches_up_without_loss(demo: Demo) -> None:
    assert demo.cli("stop", "lake").returncode == 0
    rows_before = len(demo.lake_rows_by_delta())
    await_ticks(demo, 10)
    assert len(demo.lake_rows_by_delta()) == rows_before
    assert demo.cli("start", "lake", "--wait", "240").returncode == 0
    quiet(demo)
    expected = Counter(dict.fromkeys(demo.stream(), 1))
    by_delta, by_folder = keys(demo.lake_rows_by_delta()), keys(demo.lake_rows_by_folder())
    resume(demo)
    assert by_delta == expected
    assert by_folder == expected


def test_garbage_on_both_topics_becomes_dead_letters_and_the_rest_continues(demo: Demo) -> None:
    garbage = [b"\x00\xff not json", b"[]", b'{"event_id": 1}', b'{"price": NaN}']
    producer = kafka_producer(demo.settings.kafka)
    for topic in (demo.settings.kafka.stream_topic, demo.settings.kafka.raw_topic):
        for value in garbage:
            producer.produce(topic, value=value, key=b"poison", partition=0)
    assert producer.flush(60) == 0
    address = f"s3://{demo.settings.s3.lake_bucket}/dead_letters"

    def letters() -> list[dict[str, Any]]:
        table = DeltaTable(address, storage_options=demo.settings.s3.storage_options())
        rows: list[dict[str, Any]] = table.to_pyarrow_table().to_pylist()
        return [row for row in rows if row["key"] == b"poison"]

    eventually(lambda: demo.metric("lake", "dead_letters_total") >= 2 * len(garbage), 120, 0.3)
    found = eventually(lambda: letters() if len(letters()) >= 2 * len(garbage) else None, 60, 0.5)
    assert Counter((row["topic"], row["value"]) for row in found) == Counter(
        (topic, value) for topic in (demo.settings.kafka.stream_topic, demo.settings.kafka.raw_topic) for value in garbage
    )
    assert all(row["reason"] for row in found)
    rows = demo.metric("lake", "rows_total")
    eventually(lambda: demo.metric("lake", "rows_total") > rows, 60, 0.2)
    # They are not rows of the prices table: exclude the invalid records from later comparisons.
    bad = {(row["kafka_partition"], row["kafka_offset"]) for row in found if row["topic"] == demo.settings.kafka.stream_topic}
    assert not bad & set(keys(demo.lake_rows_by_folder()))


def test_status_and_config_say_what_scripts_need(demo: Demo) -> None:
    demo.await_rows()
    status = eventually(lambda: found if (found := parse(demo.cli("status", "--json")))["state"] == "RUNNING" else None, 120, 0.5)
    expected = {"name", "kind", "desired", "state", "trigger", "message", "since", "restarts", "metrics", "depends_on", "pid", "url", "nodes"}
    assert all(set(component) == expected for component in status["components"])
    nodes = {component["name"]: component["nodes"] for component in status["components"]}  # none before the first probe
    assert nodes["lake"] == ["127.0.0.1"] * 2  # of the actor and of the executor
    assert {node for found in nodes.values() for node in found} == {"127.0.0.1"}
    config = parse(demo.cli("config", "--demo", "--json"))
    s3 = demo.settings.s3
    assert config["s3"]["endpoint"] == (f"http://127.0.0.1:{s3.port}" if s3.embedded else s3.endpoint)
    assert config["control"]["token_file"] == str(demo.settings.token_file)
    made = json.loads((demo.settings.home / "credentials.json").read_text())
    assert not [secret for secret in made.values() if secret in json.dumps(config)]
    assert (config["s3"]["secret_key"], config["kafka"]["sasl_password"]) == (MASK, MASK)
    shown = parse(demo.cli("config", "--demo", "--json", "--show-secrets"))
    assert MASK in config["redis"]["url"]
    if not s3.embedded:
        assert (shown["s3"]["secret_key"], shown["kafka"]["sasl_password"]) == (S3_SECRET, KAFKA_PASSWORD)
        return
    assert config["redis"]["url"] == f"redis://{MASK}@127.0.0.1:{demo.settings.redis.port}/0"
    assert (shown["s3"]["access_key"], shown["s3"]["secret_key"]) == ("cryptoviz", made["s3_secret_key"])
    assert (shown["kafka"]["security_protocol"], shown["kafka"]["sasl_mechanism"]) == ("SASL_PLAINTEXT", "PLAIN")
    assert (shown["kafka"]["sasl_username"], shown["kafka"]["sasl_password"]) == ("cryptoviz", made["kafka_password"])
    assert shown["redis"]["url"] == f"redis://:{made['redis_password']}@127.0.0.1:{demo.settings.redis.port}/0"


def test_query_counts_what_the_delta_log_holds(demo: Demo) -> None:
    quiet(demo)
    rows = parse(demo.cli("query", "SELECT asset_id, count(*) AS n FROM prices GROUP BY 1 ORDER BY 1", "--json"))
    expected = Counter(row["asset_id"] for row in demo.lake_rows_by_delta())
    resume(demo)
    assert {row["asset_id"]: row["n"] for row in rows} == dict(expected)
    wrong = demo.cli("query", "SELECT nothing FROM nowhere")
    assert wrong.returncode == 1
    assert "nowhere" in wrong.stderr


def test_verify_finds_nothing_lost_or_doubled(demo: Demo) -> None:
    quiet(demo)
    done = demo.cli("verify", "--json")
    resume(demo)
    assert done.returncode == 0, done.stdout + done.stderr


def test_logs_show_the_component(demo: Demo) -> None:
    done = demo.cli("logs", "collector", "-n", "20")
    assert done.returncode == 0
    assert "component=collector" in done.stdout
    assert demo.cli("logs", "../collector").returncode == 2


def test_a_second_start_is_refused_and_says_how_to_end_the_first(demo: Demo) -> None:
    again = demo.cli("demo", "--detach")
    assert again.returncode == 1
    assert "cryptoviz down" in again.stderr


def test_every_metric_of_every_component_is_served_for_prometheus_and_explained(demo: Demo) -> None:
    own = demo.settings.control
    address = f"{'https' if own.tls_cert else 'http'}://{own.host}:{own.metrics_port}/metrics"
    trusted = ssl.create_default_context(cafile=own.tls_cert)
    assert httpx.get(address, timeout=60, verify=trusted).status_code == 401
    token = demo.settings.token_file.read_text().strip()
    with demo.control() as client:
        components = client.list().components
    served = httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=60, verify=trusted)
    families = list(text_string_to_metric_families(served.text))
    samples = {(sample.name, sample.labels.get("component")) for family in families for sample in family.samples}
    metrics = [(component, metric, exported(component.kind, metric)) for component in components for metric in component.metrics]
    assert [f"{component.kind} {metric}" for component, metric, found in metrics if found.help == metric] == []
    expected = {(found.name + ("_total" if found.counter else ""), component.name) for component, _, found in metrics}
    assert expected <= samples
    assert {family.documentation.endswith(".") for family in families if family.name.startswith("cryptoviz_")} == {True}
    assert len({name for name, _ in expected}) > 40
