"""The three real embedded engines: start, probe, use, stop, and data after a restart."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType
from minio import Minio
from minio.error import S3Error

from cryptoviz.components import Probe
from cryptoviz.doctor import Level, examine
from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.engines.ports import is_free
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import CryptoVizError, EngineUnavailable, PreflightError, SettingsError
from cryptoviz.kafka import admin_client
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.settings import KafkaSettings, Settings, claim_home, credentials_file, load_settings
from tests.support.engines import engines
from tests.support.files import contents, files_in
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

SECRET = "canary-secret-5f1e"
OLD_PORTS = {"kafka": ("port", "controller_port"), "s3": ("port", "console_port"), "redis": ("port",)}


def own_settings(home: Path, **more: Any) -> Settings:
    """Settings with free ports and a separate home, so that a pipeline may run too."""
    sections: dict[str, Any] = {
        "kafka": {"port": free_port(), "controller_port": free_port()},
        "s3": {"port": free_port(), "console_port": free_port(), "secret_key": SECRET},
        "redis": {"port": free_port()},
    }
    return claim_home(load_settings(home=home, **{name: section | more.get(name, {}) for name, section in sections.items()}))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return own_settings(tmp_path_factory.mktemp("engines") / "home")


def running(name: str, settings: Settings) -> Iterator[Engine]:
    with engines(settings, name) as (engine,):
        yield engine


@pytest.fixture(scope="module")
def kafka(settings: Settings) -> Iterator[Engine]:
    yield from running("kafka", settings)


@pytest.fixture(scope="module")
def object_store(settings: Settings) -> Iterator[Engine]:
    yield from running("object-store", settings)


@pytest.fixture(scope="module")
def valkey(settings: Settings) -> Iterator[Engine]:
    yield from running("redis", settings)


def produce(settings: Settings, topic: str, values: list[bytes], **config: Any) -> None:
    """Publish in one transaction, like the publisher."""
    producer = kafka_producer(settings.kafka, {"transactional.id": "test", "acks": "all"} | config)
    producer.init_transactions(60)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.commit_transaction(60)


def consume(settings: Settings, topic: str, count: int) -> list[bytes]:
    reading = {"group.id": "test", "isolation.level": "read_committed", "log_level": 0}
    consumer = kafka_consumer(settings.kafka, reading)
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        values: list[bytes] = []

        def enough() -> bool:
            values.extend(each.value() for each in consumer.consume(count, 0.5))
            return len(values) >= count

        eventually(enough)
        return values
    finally:
        consumer.close()


def store(settings: Settings) -> Minio:
    return Minio(settings.s3.endpoint.removeprefix("http://"), access_key=settings.s3.access_key, secret_key=SECRET, secure=False)


def healthy(engine: Engine) -> Probe:
    """Its first healthy probe: on a busy machine an engine may not answer in time."""

    def found() -> Probe:
        probe = engine.probe()
        assert (probe.running, probe.healthy) == (True, True), probe.message
        return probe

    return eventually(found)


def check_running(engine: Engine) -> int:
    begun = time.monotonic()
    probe = healthy(engine)
    assert probe.pid == engine.pid
    assert engine.pid is not None
    assert psutil.pid_exists(engine.pid)
    assert 0 <= probe.metrics["answer_ms"] <= (time.monotonic() - begun) * 1000
    return engine.pid


def test_kafka_has_both_topics_with_the_partitions_set(kafka: Engine, settings: Settings) -> None:
    check_running(kafka)
    assert healthy(kafka).metrics["brokers"] == 1
    admin = admin_client(settings.kafka)
    topics = admin.list_topics(timeout=60).topics
    partitions = {name: len(topic.partitions) for name, topic in topics.items() if not name.startswith("__")}
    assert partitions == {"crypto-raw-data": 1, "crypto-streaming": 2}
    resource = ConfigResource(ResourceType.TOPIC, "crypto-raw-data")
    config = admin.describe_configs([resource])[resource].result(60)
    assert config["max.message.bytes"].value == str(2 * 1024 * 1024)
    assert config["retention.ms"].value == str(7 * 24 * 3600 * 1000)
    assert int(config["retention.bytes"].value) > 0


def test_kafka_takes_a_record_of_the_largest_size(kafka: Engine, settings: Settings) -> None:
    large = os.urandom(2 * 1024 * 1024 - 1024)
    produce(settings, "crypto-raw-data", [large], **{"message.max.bytes": 4 * 1024 * 1024})
    assert consume(settings, "crypto-raw-data", 1)[0] == large


def test_kafka_makes_no_topic_on_its_own(kafka: Engine, settings: Settings) -> None:
    with pytest.raises(KafkaException):
        produce(settings, "not-a-topic-of-ours", [b"x"], **{"message.timeout.ms": 1500, "transaction.timeout.ms": 2000})


def test_kafka_keeps_records_and_identity_over_a_restart(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / "home")
    engine = build_engine("kafka", settings)
    try:
        engine.start()
        first = check_running(engine)
        engine.start()
        assert engine.pid == first
        cluster = admin_client(settings.kafka).list_topics(timeout=60).cluster_id
        produce(settings, "crypto-streaming", [b"one", b"two"])
        engine.stop()
        assert not psutil.pid_exists(first)
        assert not engine.probe().running

        engine.start()
        assert check_running(engine) != first
        assert admin_client(settings.kafka).list_topics(timeout=60).cluster_id == cluster
        assert consume(settings, "crypto-streaming", 2) == [b"one", b"two"]

        killed = engine.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not engine.probe().running)
        assert "code -9" in engine.probe().message
        engine.start()
        assert consume(settings, "crypto-streaming", 2) == [b"one", b"two"]
    finally:
        engine.stop()


def test_a_broker_of_yours_gets_the_topics_and_is_left_running(kafka: Engine, settings: Settings) -> None:
    theirs = load_settings(home=settings.home, kafka=settings.kafka.access() | {"raw_topic": "their-raw", "stream_partitions": 5})
    external = build_engine("kafka", theirs)
    external.start()
    external.start()
    assert healthy(external)
    topics = admin_client(settings.kafka).list_topics(timeout=60).topics
    assert len(topics["their-raw"].partitions) == 1
    # An existing topic keeps its configuration.
    assert len(topics["crypto-streaming"].partitions) == 2
    external.stop()
    assert healthy(kafka)


def test_minio_has_both_buckets_and_keeps_objects_over_a_restart(object_store: Engine, settings: Settings) -> None:
    check_running(object_store)
    client = store(settings)
    assert {bucket.name for bucket in client.list_buckets()} == {"crypto-data-partitioned", "crypto-lake"}
    client.put_object("crypto-lake", "raw/x.bin", io.BytesIO(b"kept"), 4)
    object_store.stop()
    object_store.start()
    check_running(object_store)
    answer = store(settings).get_object("crypto-lake", "raw/x.bin")
    try:
        assert answer.read() == b"kept"
    finally:
        answer.close()
        answer.release_conn()


def test_minio_serves_its_console(object_store: Engine) -> None:
    url = object_store.url
    assert url is not None

    def shown() -> httpx.Response | None:
        try:
            return httpx.get(url, headers={"User-Agent": "Mozilla/5.0", "Accept": "text/html"}, follow_redirects=True, timeout=60)
        except httpx.TransportError:  # it listens shortly after the store
            return None

    page = eventually(shown)
    assert page is not None
    assert page.status_code == 200
    assert "MinIO Console" in page.text


def test_wrong_keys_for_an_s3_of_yours_name_the_settings(object_store: Engine, settings: Settings) -> None:
    wrong = build_engine("object-store", load_settings(home=settings.home, s3={"endpoint": settings.s3.endpoint, "secret_key": "not-this-one"}))
    with pytest.raises(SettingsError, match="CRYPTOVIZ_S3__SECRET_KEY"):
        wrong.start()
    assert not wrong.probe().healthy
    right = build_engine("object-store", load_settings(home=settings.home, s3={"endpoint": settings.s3.endpoint, "secret_key": SECRET}))
    right.start()
    assert healthy(right)
    right.stop()
    assert healthy(object_store)


def test_valkey_keeps_keys_over_a_restart(valkey: Engine, settings: Settings) -> None:
    check_running(valkey)
    with redis.Redis.from_url(settings.redis.url) as client:
        client.set("cryptoviz:test", "kept")
    valkey.stop()
    valkey.start()
    with redis.Redis.from_url(settings.redis.url) as client:
        assert client.get("cryptoviz:test") == b"kept"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_no_secret_shows_in_any_argument_list_or_log(kafka: Engine, object_store: Engine, valkey: Engine, settings: Settings) -> None:
    for engine in (kafka, object_store, valkey):
        assert SECRET not in " ".join(psutil.Process(engine.pid).cmdline())
    for log, content in contents(settings.log_dir):
        assert SECRET.encode() not in content, log


@pytest.mark.parametrize("given", [{"sasl_password": "not-this-one"}, {"sasl_username": "eve"}, {"security_protocol": "PLAINTEXT"}])
def test_kafka_requires_its_password(given: dict[str, Any], kafka: Engine, settings: Settings) -> None:
    stranger = KafkaSettings.model_validate(settings.kafka.access() | given)
    with pytest.raises(CryptoVizError):
        TopicAdmin(stranger).ask()
    assert healthy(kafka)


def test_kafkas_controller_listener_requires_its_password(kafka: Engine, settings: Settings) -> None:
    # The first request of a Java client: ApiVersions (18) version 0, correlation 7, no client id.
    request = struct.pack(">hhih", 18, 0, 7, -1)
    metadata = struct.pack(">hhih", 55, 0, 8, -1) + b"\x02"
    with socket.create_connection(("127.0.0.1", settings.kafka.controller_port), timeout=60) as connection:
        for payload in (request, metadata):
            connection.sendall(struct.pack(">i", len(payload)) + payload)
        received = b""
        try:
            while piece := connection.recv(4096):
                received += piece
        except ConnectionResetError:
            pass
    # By the protocol versions are returned before the login; then the connection is closed without a response.
    assert struct.pack(">i", 8) not in received
    assert healthy(kafka)


def test_valkey_and_minio_require_their_passwords(object_store: Engine, valkey: Engine, settings: Settings) -> None:
    with redis.Redis(port=settings.redis.port) as client, pytest.raises(redis.AuthenticationError):
        client.get("cryptoviz:test")
    with redis.Redis(port=settings.redis.port, password="not-this-one") as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    well_known = Minio(settings.s3.endpoint.removeprefix("http://"), access_key="cryptoviz", secret_key="cryptoviz2024", secure=False)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        well_known.list_buckets()
    assert healthy(valkey)
    assert healthy(object_store)


def test_no_generated_password_shows_in_arguments_environment_or_logs(
    kafka: Engine, object_store: Engine, valkey: Engine, settings: Settings
) -> None:
    made = json.loads(credentials_file(settings).read_text())
    secrets = {SECRET, made["redis_password"], made["kafka_password"]}
    for engine in (kafka, object_store, valkey):
        process = psutil.Process(engine.pid)
        shown = "\0".join((*process.cmdline(), *process.environ().values()))
        assert not [secret for secret in secrets if secret in shown]
    for log, content in contents(settings.log_dir):
        assert not [secret for secret in secrets if secret.encode() in content], log


def test_what_the_engines_write_is_for_their_owner_alone(kafka: Engine, object_store: Engine, valkey: Engine, settings: Settings) -> None:
    store(settings).put_object("crypto-lake", "raw/mode.bin", io.BytesIO(b"x"), 1)
    with redis.Redis.from_url(settings.redis.url) as client:
        client.set("cryptoviz:mode", "x")
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    files = [path for path in files_in(settings.home) if path.suffix != ".log"]
    assert {path.relative_to(settings.home).parts[0] for path in files} >= {"kafka", "minio", "redis", "credentials.json"}
    # The home is already closed; this is a second protection, for files moved out of it.
    secret = [path for path in files if path.name in ("server.properties", "valkey.conf", "minio.password", "credentials.json")]
    assert len(secret) == 4
    written = [path for path in files if "data" in path.parts or "appendonlydir" in path.parts or path.name == "xl.meta"]
    assert [path for path in (*secret, *written) if path.exists() and path.stat().st_mode & 0o077] == []


def test_a_home_without_passwords_keeps_its_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ports: dict[str, Any] = {name: {key: free_port() for key in keys} for name, keys in OLD_PORTS.items()}
    given = {"kafka": {"security_protocol": "PLAINTEXT"}, "s3": {"secret_key": "cryptoviz2024"}, "redis": {"password": "given-before"}}
    old = claim_home(load_settings(home=home, **{name: ports[name] | given[name] for name in ports}))
    new = claim_home(load_settings(home=home, **ports))
    for settings in (old, new):
        with contextlib.ExitStack() as stack:
            for name in ("kafka", "object-store", "redis"):
                engine = build_engine(name, settings)
                stack.callback(engine.stop)
                engine.start()
            key, secret = settings.s3.access_key, settings.s3.secret_key.get_secret_value()
            client = Minio(settings.s3.endpoint.removeprefix("http://"), secure=False, access_key=key, secret_key=secret)
            if settings is old:
                produce(settings, "crypto-streaming", [b"before"])
                client.put_object("crypto-lake", "raw/before.bin", io.BytesIO(b"before"), 6)
                with redis.Redis.from_url(settings.redis.url) as cache:
                    cache.set("before", "before")
                continue
            assert consume(settings, "crypto-streaming", 1) == [b"before"]
            assert client.stat_object("crypto-lake", "raw/before.bin").size == 6
            with redis.Redis.from_url(settings.redis.url) as cache:
                assert cache.get("before") == b"before"


def test_engines_listen_on_loopback_only(kafka: Engine, object_store: Engine, valkey: Engine) -> None:
    for engine in (kafka, object_store, valkey):
        listening = [each for each in psutil.Process(engine.pid).net_connections("inet") if each.status == psutil.CONN_LISTEN]
        assert listening
        # Java shows an IPv4 address of a dual socket as IPv6.
        assert all(ipaddress.ip_address(each.laddr.ip.removeprefix("::ffff:")).is_loopback for each in listening)


def test_the_doctor_knows_its_own_engines_from_a_strangers(kafka: Engine, object_store: Engine, settings: Settings, tmp_path: Path) -> None:
    ours = [finding for finding in examine(settings) if finding.name.startswith("Port") and finding.level is Level.FAIL and "Kafka" in finding.detail]
    assert ours == []
    elsewhere = settings.model_copy(update={"home": tmp_path})
    found = {finding.setting: finding for finding in examine(elsewhere) if finding.level is Level.FAIL}
    assert f"java (pid {kafka.pid})" in found["CRYPTOVIZ_KAFKA__PORT"].detail
    assert f"minio (pid {object_store.pid})" in found["CRYPTOVIZ_S3__CONSOLE_PORT"].detail
    with pytest.raises(PreflightError, match=f"pid {kafka.pid}"):
        build_engine("kafka", elsewhere).start()


def test_a_setting_that_the_engine_refuses_is_reported_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / "home")
    # Settings refuse such a name; the store may refuse others.
    settings = settings.model_copy(update={"s3": settings.s3.model_copy(update={"lake_bucket": "Not A Bucket"})})
    engine = build_engine("object-store", settings)
    with pytest.raises(SettingsError, match="Not A Bucket"):
        engine.start()
    assert engine.pid is None
    assert is_free(settings.s3.port)


def test_an_engine_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / "home")
    claim_home(settings)
    (settings.home / "redis" / "appendonlydir").mkdir(parents=True)
    (settings.home / "redis" / "appendonlydir" / "appendonly.aof.manifest").write_text("this is no manifest\n")
    engine = build_engine("redis", settings)
    with pytest.raises(EngineUnavailable, match=r"(?s)redis did not start: it exited with code 1.*manifest"):
        engine.start()
