"""Fakes behind the collection's Protocols."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from actors.publishing.transaction import KafkaTransaction, Refused
from cryptoviz.errors import EngineUnavailable
from cryptoviz.records import FallbackReason, Observation, TickResult
from tests.support.clock import T0


def seen(asset_id: str, price: float, provider: str = "coingecko", **more: Any) -> Observation:
    return Observation(asset_id=asset_id, provider=provider, provider_asset_id=f"{provider}:{asset_id}", price=price, **more)


def answer(provider: str, prices: dict[str, float], tick_ts: int = T0, ingest_ts: int | None = None, **more: Any) -> TickResult:
    observations = {asset: seen(asset, price, provider, **more) for asset, price in prices.items()}
    return TickResult(provider, tick_ts, f"fetch-{provider}", 1, ingest_ts or tick_ts + 100, observations)


def failed(provider: str, reason: FallbackReason, tick_ts: int = T0) -> TickResult:
    return TickResult(provider, tick_ts, f"fetch-{provider}", 1, tick_ts + 100, failure=reason, message=f"{provider}: {reason}")


def not_due(provider: str, tick_ts: int = T0) -> TickResult:
    return TickResult(provider, tick_ts, "", 1, tick_ts + 1, due=False)


class FakeSink:
    def __init__(self) -> None:
        self.transactions: list[KafkaTransaction] = []

    def offer(self, transaction: KafkaTransaction) -> None:
        self.transactions.append(transaction)


class FakeSnapshot:
    def __init__(self) -> None:
        self.latest: list[KafkaTransaction] = []

    def set_latest(self, transaction: KafkaTransaction) -> None:
        self.latest.append(transaction)


class Broker:
    """State that outlives a producer: the committed transactions. `script` contains the outcomes of the next calls."""

    def __init__(self) -> None:
        self.committed: list[KafkaTransaction] = []
        self.script: deque[str] = deque()
        self.gate = threading.Event()
        self.gate.set()
        self.connects = 0


class FakeTransport:
    """`fail`: nothing is committed; `lost_ack`: committed, but the acknowledgement is lost; `fenced` raises `fence`."""

    def __init__(self, broker: Broker, fence: Exception | None = None) -> None:
        self.broker = broker
        self.fence = fence
        self.closed = False
        self._known: set[str] = set()

    def connect(self) -> int | None:
        self.broker.connects += 1
        if self.broker.script and self.broker.script[0] == "no_connection":
            self.broker.script.popleft()
            raise EngineUnavailable("no broker", engine="kafka", address="x")
        self._known = {transaction.identity for transaction in self.broker.committed}
        return max((transaction.tick_ts for transaction in self.broker.committed), default=None)

    def is_published(self, transaction: KafkaTransaction) -> bool:
        return transaction.identity in self._known

    def was_refused(self, transaction: KafkaTransaction) -> tuple[Refused, ...]:
        del transaction
        return ()

    def publish(self, transaction: KafkaTransaction) -> tuple[Refused, ...]:
        self.broker.gate.wait()
        action = self.broker.script.popleft() if self.broker.script else "ok"
        if action == "fenced" and self.fence is not None:
            raise self.fence
        if action in ("ok", "lost_ack"):
            self.broker.committed.append(transaction)
        if action in ("fail", "lost_ack"):
            raise EngineUnavailable(action, engine="kafka", address="x")
        return ()

    def close(self) -> None:
        self.closed = True


class Events:
    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def published(self, transaction: KafkaTransaction) -> None:
        self.calls.append(("published", transaction.identity))

    def dropped(self, transaction: KafkaTransaction) -> None:
        self.calls.append(("dropped", transaction.identity))

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        self.calls.append(("refused", (transaction.identity, refused.message.key, refused.reason)))

    def connected(self, last_tick_ts: int | None) -> None:
        self.calls.append(("connected", last_tick_ts))
