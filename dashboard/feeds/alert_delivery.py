"""Delivers queued firings: a thread for each configured channel, in order, repeated with back-off until the receiver takes or refuses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from cryptoviz.alerts.channels import Channel
from cryptoviz.alerts.evaluate import Firing
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, DeliveryFailed, TransientError
from cryptoviz.log import get_logger

__all__ = ["AlertDelivery", "DeliveryQueue"]

_IDLE_S = 30.0
"""A new firing wakes the thread; this notices those of an evaluator that has ended."""
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_GIVE_UP_MS = 3_600_000
"""A message that is older and fails again is given up, so that newer ones are sent."""

log = get_logger("alerts")


class DeliveryQueue(Protocol):
    """The used part of `cryptoviz.alerts.store.AlertStore`."""

    def next_delivery(self, channel: str) -> Firing | None: ...
    def note_delivery(self, channel: str, firing_id: str, result: str, *, done: bool) -> None: ...


class AlertDelivery:
    """Owns the thread of a channel. `holds`: whether this process is the pipeline's evaluator; only that one sends."""

    def __init__(self, queue: DeliveryQueue, channel: Channel, holds: Callable[[], bool], clock: Clock) -> None:
        self._queue, self._channel, self._holds, self._clock = queue, channel, holds, clock
        self._failures = 0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alerts-{channel.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)  # an attempt that takes longer is repeated by the next start

    def wake(self) -> None:
        """Look for firings at once, unless an attempt has just failed."""
        if not self._failures:
            self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self.step())
            self._wake.clear()

    def step(self) -> float:
        """Deliver what waits; returns the seconds until the next attempt."""
        try:
            while not self._stop.is_set() and self._holds():
                firing = self._queue.next_delivery(self._channel.name)
                if firing is None:
                    return _IDLE_S
                if not self._attempt(firing):
                    return min(_LAST_RETRY_S, _FIRST_RETRY_S * float(1 << min(self._failures - 1, 10)))
        except TransientError as error:
            log.warning("alert_queue_unavailable", channel=self._channel.name, reason=str(error))
        return _IDLE_S

    def _attempt(self, firing: Firing) -> bool:
        """Whether the next firing can follow at once."""
        name = self._channel.name
        try:
            self._channel.send(firing)
        except DeliveryFailed as error:
            old = self._clock.now_ms() - firing.at_ms > _GIVE_UP_MS
            self._failures = 0 if old else self._failures + 1
            log.warning("alert_not_delivered", channel=name, firing=firing.firing_id, reason=str(error), given_up=old)
            self._queue.note_delivery(name, firing.firing_id, f"{'given up' if old else 'waiting'}: {error}", done=old)
            return old
        except CryptoVizError as error:
            log.warning("alert_refused", channel=name, firing=firing.firing_id, reason=str(error))
            self._failures = 0
            self._queue.note_delivery(name, firing.firing_id, f"refused: {error}", done=True)
            return True
        except Exception as error:  # a fault with one message must not keep all others from being sent
            log.exception("alert_not_sendable", channel=name, firing=firing.firing_id)
            self._failures = 0
            self._queue.note_delivery(name, firing.firing_id, f"refused: {type(error).__name__}", done=True)
            return True
        self._failures = 0
        self._queue.note_delivery(name, firing.firing_id, "sent", done=True)
        return True
