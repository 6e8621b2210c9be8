"""Transactional ids of the producers, which also name the groups of their progress."""

from __future__ import annotations

from cryptoviz.settings import KafkaSettings

__all__ = ["producer_id"]

_USUAL_TOPICS = frozenset({KafkaSettings.model_fields[name].default for name in ("raw_topic", "stream_topic", "trades_topic")})


def producer_id(role: str, topic: str) -> str:
    """The id of the only producer of a role on a topic; a second one fences the first.

    Two pipelines with topics of their own on one broker do not fence each other. Two with the same topics do: each would publish every tick.
    """
    name = f"cryptoviz-{role}"
    return name if topic in _USUAL_TOPICS else f"{name}@{topic}"
