"""Construction of engines, and messages of external and misconfigured engines."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cryptoviz.engines.build import ENGINE_NAMES, Engine, build_engine
from cryptoviz.engines.external import ExternalEngine
from cryptoviz.engines.kafka import server_properties
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError, UnknownComponent
from cryptoviz.local.home_lock import engine_lock
from cryptoviz.settings import KafkaSettings, check_topics, claim_home, load_settings
from tests.support.ports import free_port


def external(name: str, address: str, home: Path) -> Engine:
    section: dict[str, dict[str, Any]] = {
        "kafka": {"kafka": {"bootstrap_servers": address}},
        "object-store": {"s3": {"endpoint": f"http://{address}"}},
        "redis": {"redis": {"url": f"redis://:canary-password@{address}/0"}},
    }
    return build_engine(name, load_settings(home=home, **section[name]))


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_unknown_engine_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownComponent, match="kafka, object-store, redis") as caught:
        build_engine("postgres", load_settings())
    assert caught.value.component == "postgres"


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_an_engine_touches_nothing_before_its_start(name: str, tmp_path: Path) -> None:
    engine = build_engine(name, load_settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    assert engine.name == name
    assert engine.pid is None
    assert not engine.probe().running
    engine.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["kafka", "object-store"])
def test_an_engine_that_was_not_fetched_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    ports: dict[str, Any] = {"kafka": {"port": free_port(), "controller_port": free_port()}, "s3": {"port": free_port(), "console_port": free_port()}}
    engine = build_engine(name, claim_home(load_settings(home=tmp_path / "home", cache=tmp_path / "cache", **ports)))
    with pytest.raises(PreflightError, match="make setup"):
        engine.start()


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_an_external_engine_is_never_ours(name: str, tmp_path: Path) -> None:
    engine = external(name, "127.0.0.1:1", tmp_path)
    assert isinstance(engine, ExternalEngine)
    assert engine.pid is None
    assert engine.url is None
    engine.stop()


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_an_absent_external_engine_is_unhealthy(name: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    engine = external(name, address, tmp_path)
    probe = engine.probe()
    assert probe.running
    assert not probe.healthy
    assert address in probe.message
    assert "CRYPTOVIZ_" in probe.message
    assert "canary-password" not in probe.message
    with pytest.raises(EngineUnavailable):
        engine.start()


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_a_silent_server_does_not_hang_the_probe(name: str, tmp_path: Path, silent: str) -> None:
    engine = external(name, silent, tmp_path)
    assert not engine.probe().healthy
    engine.stop()


@pytest.mark.parametrize("bad", ["", "..", ".", "with space", "a/b", "ü", "x" * 250])
def test_bad_topic_names_are_refused_by_setting(bad: str) -> None:
    with pytest.raises(SettingsError, match="CRYPTOVIZ_KAFKA__STREAM_TOPIC"):
        check_topics(KafkaSettings(stream_topic=bad))


def test_topics_must_differ() -> None:
    with pytest.raises(SettingsError, match="must differ"):
        check_topics(KafkaSettings(raw_topic="same", stream_topic="same"))


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://host/path"])
def test_a_bad_endpoint_is_named_with_what_is_valid(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="http://host:port"):
        build_engine("object-store", load_settings(home=tmp_path, s3={"endpoint": endpoint})).start()


@pytest.mark.parametrize("given", [{"access_key": "ab"}, {"secret_key": "canary7"}])
def test_credentials_that_minio_would_refuse_are_named_by_setting(given: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path, s3=given)
    assert f"CRYPTOVIZ_S3__{next(iter(given)).upper()}" in str(caught.value)
    assert "canary7" not in str(caught.value)


def test_a_taken_port_stops_the_start_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        engine = build_engine("redis", claim_home(load_settings(home=tmp_path, redis={"port": port})))
        with pytest.raises(PreflightError, match="CRYPTOVIZ_REDIS__PORT") as caught:
            engine.start()
    assert str(port) in str(caught.value)


def test_kafka_listens_on_loopback_only(tmp_path: Path) -> None:
    properties = server_properties(KafkaSettings(port=1234, controller_port=1235, sasl_password=SecretStr("pw")))
    assert properties["listeners"] == "CLIENTS://127.0.0.1:1234,CONTROLLER://127.0.0.1:1235"
    assert properties["advertised.listeners"] == "CLIENTS://127.0.0.1:1234"


def test_every_listener_of_kafka_asks_for_the_password_and_quotes_any() -> None:
    properties = server_properties(KafkaSettings(sasl_username="ada", sasl_password=SecretStr('a"b\\c')))
    assert properties["listener.security.protocol.map"] == "CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT"
    options = r'"username"="ada" "password"="a\"b\\c" "user_ada"="a\"b\\c"'
    module = f"org.apache.kafka.common.security.plain.PlainLoginModule required {options};"
    for listener in ("clients", "controller"):
        assert properties[f"listener.name.{listener}.plain.sasl.jaas.config"] == module


def test_kafka_without_a_password_starts_open_only_if_the_settings_say_so() -> None:
    with pytest.raises(SettingsError, match="CRYPTOVIZ_KAFKA__SASL_PASSWORD"):
        server_properties(KafkaSettings())
    opened = server_properties(KafkaSettings(security_protocol="PLAINTEXT"))
    assert opened["listener.security.protocol.map"] == "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT"
    assert not [name for name in opened if "sasl" in name]
    with pytest.raises(SettingsError, match="the embedded broker supports SASL_PLAINTEXT"):
        load_settings(kafka={"security_protocol": "SSL"})


def test_one_engine_at_a_time_works_on_a_home_s_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with other ports, since a second engine would write to the same files. A reset cannot remove them meanwhile."""
    monkeypatch.setattr("cryptoviz.engines.embedded._PORT_WAIT_S", 0.2)
    claim_home(load_settings(home=tmp_path))
    first, second = (build_engine("redis", load_settings(home=tmp_path, redis={"port": free_port()})) for _ in range(2))
    first.start()
    try:
        with pytest.raises(EngineUnavailable, match=rf"redis of this home` \(process {os.getpid()},"):
            second.start()
        with pytest.raises(PreflightError, match="redis of this home"):
            engine_lock(tmp_path, "redis").acquire()
    finally:
        first.stop()
    second.start()
    second.stop()
