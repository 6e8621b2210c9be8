"""Kafka clients, configured by the settings. No other package creates Kafka clients."""

from cryptoviz.kafka.clients import admin_client, client_config, consumer, java_config, producer
from cryptoviz.kafka.producer_ids import producer_id
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
    "producer_id",
    "progress_of",
]
