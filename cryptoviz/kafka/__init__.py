"""The one place where Kafka clients are made: how to reach the brokers, and who calls, by the settings."""

from cryptoviz.kafka.clients import admin_client, client_config, consumer, java_config, producer
from cryptoviz.kafka.transactions import Fenced, KafkaClients, OwnedProducer, Progress, Record, Refusal, progress_of

__all__ = [
    "Fenced",
    "KafkaClients",
    "OwnedProducer",
    "Progress",
    "Record",
    "Refusal",
    "admin_client",
    "client_config",
    "consumer",
    "java_config",
    "producer",
    "progress_of",
]
