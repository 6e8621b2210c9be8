"""The stream actor of `bench.streams`, which measures itself. Its process imports nothing else of the benchmark."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from actors.publishing.transaction import KafkaTransaction
from actors.streaming.actor import StreamActor
from cryptoviz.settings import Settings
from cryptoviz.venues.binance import BinanceVenue

__all__ = ["VENUE", "LoadedStream", "Taken"]

VENUE = "binance"


@dataclass(frozen=True)
class Taken:
    """What the actor measured since the last look.

    Attributes:
        acks: of each transaction its trades, and the milliseconds from the arrival of its oldest trade to Kafka's acknowledgement.
        cpu_s: processor time of the actor's process since its start.
        metrics, message: of its probe.
    """

    acks: list[tuple[int, float]]
    cpu_s: float
    metrics: dict[str, float]
    message: str


class LoadedStream(StreamActor):
    """The stream of the venue with the extra coins of the settings among its symbols."""

    def __init__(self, settings: Settings) -> None:
        listed = {one.asset_id: one.provider_ids[VENUE] for one in settings.extra_assets}
        BinanceVenue.spec = replace(BinanceVenue.spec, symbols={**BinanceVenue.spec.symbols, **listed})
        super().__init__(settings, VENUE)
        self._acks: list[tuple[int, float]] = []

    def acknowledged(self, transaction: KafkaTransaction, at_s: float) -> None:
        began = [self._since[identity] for identity in (*transaction.merged, transaction.identity) if identity in self._since]
        if began:
            self._acks.append((len(transaction.messages), (at_s - min(began)) * 1000))
        super().acknowledged(transaction, at_s)

    async def taken(self) -> Taken:
        """See there."""
        acks, self._acks = self._acks, []
        probe = await self.probe()
        return Taken(acks, time.process_time(), dict(probe.metrics), probe.message)
