"""Configuration of librdkafka and Java clients from `KafkaSettings`: addresses, protocol and credentials.

No other module constructs a Producer, Consumer or AdminClient, so that a secured broker needs only settings. The results contain the password: never
log them or pass them as program arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from cryptoviz.settings import NO_KEY, KafkaSettings

__all__ = ["admin_client", "client_config", "consumer", "jaas_quoted", "java_config", "producer"]

_BASE: dict[str, Any] = {
    # Reconnect quickly to a restarted broker.
    "reconnect.backoff.max.ms": 1000,
    "socket.keepalive.enable": True,
    # Each client asks the broker as often. Producers use added partitions within this time; the default is five minutes.
    "topic.metadata.refresh.interval.ms": 60_000,
    # librdkafka's log lines on stderr would repeat errors that are raised.
    "log_level": 0,
}


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Connection settings for librdkafka. Contains the password: never log it."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": kafka.security_protocol, **_BASE}
    if kafka.encrypted and kafka.ca_pem:
        config["ssl.ca.pem"] = kafka.ca_pem
    elif kafka.encrypted and kafka.ssl_ca_location is not None:
        config["ssl.ca.location"] = str(kafka.ssl_ca_location)
    if kafka.authenticated:
        config |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.username": kafka.sasl_username, "sasl.password": _password(kafka)}
    return config


def java_config(kafka: KafkaSettings) -> dict[str, str]:
    """Connection settings for a Java client (Spark's). Contains the password: pass them as reader options, never as arguments or Spark conf."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": kafka.security_protocol}
    if kafka.encrypted and kafka.ca_pem:
        config |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": kafka.ca_pem}
    elif kafka.encrypted and kafka.ssl_ca_location is not None:
        config |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(kafka.ssl_ca_location)}
    if kafka.authenticated:
        module = "plain.PlainLoginModule" if kafka.sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
        login = f"username={jaas_quoted(kafka.sasl_username)} password={jaas_quoted(_password(kafka))}"
        config |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.jaas.config": f"org.apache.kafka.common.security.{module} required {login};"}
    return config


def producer(kafka: KafkaSettings, config: Mapping[str, Any] | None = None) -> Any:
    """A librdkafka producer. `config` extends and overrides `client_config`."""
    return Producer(client_config(kafka) | dict(config or {}))


def consumer(kafka: KafkaSettings, config: Mapping[str, Any] | None = None) -> Any:
    """A librdkafka consumer that reads committed records and stores no offsets, unless overridden by `config`."""
    reading = {"group.id": "cryptoviz-unused", "isolation.level": "read_committed", "enable.auto.commit": False}
    # Added partitions are discovered within this time.
    reading |= {"topic.metadata.refresh.interval.ms": 5000}
    return Consumer(client_config(kafka) | reading | dict(config or {}))


def admin_client(kafka: KafkaSettings, config: Mapping[str, Any] | None = None) -> Any:
    """A librdkafka admin client."""
    return AdminClient(client_config(kafka) | dict(config or {}))


def _password(kafka: KafkaSettings) -> str:
    given = kafka.sasl_password.get_secret_value() if kafka.sasl_password is not None else ""
    # librdkafka creates no client without a password, but the broker's error says more.
    return given or NO_KEY


def jaas_quoted(text: str) -> str:
    """Quoted JAAS value, escaped by backslashes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
