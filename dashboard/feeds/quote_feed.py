"""The last quotes of instruments, from Redis. One thread per process, and nothing while no page looks."""

from __future__ import annotations

import threading

import redis
from redis.exceptions import RedisError

from cryptoviz.errors import RecordError
from cryptoviz.log import get_logger
from cryptoviz.redis_keys import quote_key
from cryptoviz.settings import Settings
from cryptoviz.trades.quote import QuoteRecord
from dashboard.feeds.kafka_feed import reason_of
from dashboard.trade_state import TradeState

__all__ = ["QuoteFeed"]

_LEAST_S = 1.0
"""Quotes are read at most this often; the tape shows each trade."""
_RETRY_S = 5.0
_TIMEOUT_S = 2.0

log = get_logger("dashboard")


class QuoteFeed:
    """Owns the thread. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, settings: Settings, state: TradeState) -> None:
        self._settings, self._state = settings, state
        self._keys = [quote_key(settings.ray.namespace, one.venue, one.symbol) for one in state.configured]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="quote-feed", daemon=True)
        self.rejected = 0
        """Number of invalid values."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stop.set()
        self._state.wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        client = redis.Redis.from_url(**self._settings.redis.connection(_TIMEOUT_S))
        away = False
        while not self._stop.is_set():
            self._state.wanted.wait()
            pause_s = max(_LEAST_S, self._settings.streams.quote_s)
            try:
                if self._state.watched:
                    self._read(client)
                away = False
            except (RedisError, OSError) as error:  # trades are shown without quotes
                self._state.set_quotes(())
                if not away:
                    log.warning("quotes_not_read", reason=reason_of(error))
                away, pause_s = True, max(pause_s, _RETRY_S)
            self._stop.wait(pause_s)
        client.close()

    def _read(self, client: redis.Redis) -> None:
        found = []
        for value in client.mget(self._keys):
            try:
                if isinstance(value, bytes):
                    found.append(QuoteRecord.from_json(value))
            except RecordError as error:
                self.rejected += 1
                log.info("quote_rejected", reason=str(error), rejected=self.rejected)
        self._state.set_quotes(found)
