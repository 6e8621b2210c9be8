"""The one place where Kafka clients are made: how to reach the brokers, and who calls, by the settings."""

from cryptoviz.kafka.clients import admin_client, client_config, consumer, java_config, producer

__all__ = ["admin_client", "client_config", "consumer", "java_config", "producer"]
