"""Kafka clients: created in one module, configured by the settings, without showing secrets."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from cryptoviz.kafka import admin_client, client_config, consumer, java_config, producer
from cryptoviz.settings import KafkaSettings

ROOT = Path(__file__).parents[3]
CANARY = 'canary"\\password'
SECURED = KafkaSettings.model_validate(
    {
        "bootstrap_servers": "broker.example:9093",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "ada",
        "sasl_password": CANARY,
        "ssl_ca_location": "/etc/ca.pem",
    }
)


def test_a_plaintext_broker_needs_only_an_address() -> None:
    kafka = KafkaSettings(bootstrap_servers="b:1")
    config = client_config(kafka)
    assert (config["bootstrap.servers"], config["security.protocol"]) == ("b:1", "PLAINTEXT")
    assert not [key for key in config if key.startswith(("sasl", "ssl"))]
    assert java_config(kafka) == {"bootstrap.servers": "b:1", "security.protocol": "PLAINTEXT"}


def test_a_secured_broker_gets_credentials_and_certificate_authorities() -> None:
    config = client_config(SECURED)
    assert {key: value for key, value in config.items() if key.startswith(("sasl", "ssl", "security"))} == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ada",
        "sasl.password": CANARY,
        "ssl.ca.location": "/etc/ca.pem",
    }


def test_the_java_login_escapes_quotes_and_backslashes() -> None:
    config = java_config(SECURED)
    assert (config["sasl.mechanism"], config["ssl.truststore.type"], config["ssl.truststore.location"]) == ("SCRAM-SHA-512", "PEM", "/etc/ca.pem")
    login = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="ada" password="canary\\"\\\\password";'
    assert config["sasl.jaas.config"] == login
    plain = SECURED.model_copy(update={"sasl_mechanism": "PLAIN"})
    assert java_config(plain)["sasl.jaas.config"].startswith("org.apache.kafka.common.security.plain.PlainLoginModule required ")


def test_credentials_are_not_sent_without_sasl() -> None:
    config = client_config(SECURED.model_copy(update={"security_protocol": "SSL"}))
    assert not [key for key in config if key.startswith("sasl")]
    assert config["ssl.ca.location"] == "/etc/ca.pem"


@pytest.mark.parametrize("missing", ["sasl_username", "sasl_password"])
def test_an_external_broker_with_sasl_needs_user_and_password(missing: str) -> None:
    given = {"bootstrap_servers": "b:1", "security_protocol": "SASL_PLAINTEXT", "sasl_username": "ada", "sasl_password": "pw"}
    with pytest.raises(ValidationError, match="set CRYPTOVIZ_KAFKA__SASL_USERNAME and CRYPTOVIZ_KAFKA__SASL_PASSWORD"):
        KafkaSettings.model_validate({name: value for name, value in given.items() if name != missing})


def test_the_password_is_in_no_text_of_the_settings() -> None:
    assert "canary" not in repr(SECURED)
    assert "canary" not in str(SECURED)
    assert "canary" not in SECURED.model_dump_json()


def test_settings_with_other_topics_use_the_same_brokers() -> None:
    other = KafkaSettings.model_validate(SECURED.access() | {"raw_topic": "raw-2"})
    assert client_config(other) == client_config(SECURED)
    assert (other.raw_topic, other.embedded) == ("raw-2", False)


def test_librdkafka_accepts_every_setting() -> None:
    # The constructor refuses unknown names and values. "/etc/ca.pem" would have to exist.
    secured = SECURED.model_copy(update={"ssl_ca_location": None, "bootstrap_servers": "127.0.0.1:1"})
    producer(secured, {"linger.ms": 1})
    admin_client(secured)
    consumer(secured).close()


def test_no_other_module_makes_clients() -> None:
    """Clients of product, tests and benchmarks all work with a secured broker. The consumer of the compared system uses `client_config`."""
    allowed = {"cryptoviz/kafka/clients.py", "bench/lake/contend/consumer.py"}
    made = {"Producer", "Consumer", "AdminClient", "SerializingProducer", "DeserializingConsumer", "AIOProducer", "AIOConsumer"}
    found = set()
    for folder in ("cryptoviz", "actors", "spark_jobs", "control", "dashboard", "market", "scripts", "examples", "tests", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
            names = {call.id if isinstance(call, ast.Name) else call.attr if isinstance(call, ast.Attribute) else "" for call in calls}
            imports = "confluent_kafka" in path.read_text(encoding="utf-8")
            if imports and names & made:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == allowed
