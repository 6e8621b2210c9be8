"""State and services shared by all sessions of the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cryptoviz.alerts.channels import channels_of
from cryptoviz.alerts.store import AlertStore
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.settings import Settings
from dashboard.alert_state import AlertState
from dashboard.derived import Derived
from dashboard.downloads import Downloads
from dashboard.feeds.alert_delivery import AlertDelivery
from dashboard.feeds.alert_feed import AlertFeed
from dashboard.feeds.control_feed import ControlFeed, ControlService
from dashboard.feeds.history_cache import History, HistorySource
from dashboard.feeds.inspection import Inspection
from dashboard.feeds.kafka_feed import LiveFeed
from dashboard.shared_state import ControlState, LiveState, Wakeups

if TYPE_CHECKING:
    from dashboard.feeds.quote_feed import QuoteFeed
    from dashboard.feeds.trade_feed import TradeFeed
    from dashboard.trade_state import TradeState

__all__ = ["AppContext"]

_ACTION_WORKERS = 2  # calls take milliseconds; a second worker serves clicks while another call waits for its deadline

Feed: TypeAlias = "LiveFeed | ControlFeed | AlertFeed | AlertDelivery | TradeFeed | QuoteFeed"


@dataclass(frozen=True)
class AppContext:
    """State, feeds and workers. Create it with `create`; `start` starts the feeds, `stop` stops everything."""

    settings: Settings
    clock: Clock
    wakeups: Wakeups
    live: LiveState
    control: ControlState
    history: History
    connect: Callable[[], ControlService]
    feeds: tuple[Feed, ...]
    inspection: Inspection
    alerts: AlertState
    alert_store: AlertStore
    alert_feed: AlertFeed
    trades: TradeState | None = None
    """None while streams are off."""
    derived: Derived = field(default_factory=Derived)
    downloads: Downloads = field(default_factory=lambda: Downloads(lambda: time.monotonic() * 1000))
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_ACTION_WORKERS, thread_name_prefix="actions"))

    @classmethod
    def create(cls, settings: Settings, connect: Callable[[], ControlService], history: HistorySource) -> AppContext:
        """Create the parts, without connecting."""
        wakeups = Wakeups()
        clock = SystemClock()
        live, control = LiveState(wakeups), ControlState(wakeups)
        alerts, alert_store = AlertState(wakeups), AlertStore(settings)
        channels = channels_of(settings, clock)
        alert_feed = AlertFeed(settings, alert_store, live, control, alerts, clock, tuple(channel.name for channel in channels))
        deliveries = tuple(AlertDelivery(alert_store, channel, alert_feed.is_evaluator, clock) for channel in channels)
        for delivery in deliveries:
            alert_feed.when_queued(delivery.wake)
        feeds: tuple[Feed, ...] = (alert_feed, *deliveries, LiveFeed(settings, live, clock), ControlFeed(connect, control))
        trades = trade_history = None
        if settings.streams.on:
            from dashboard.feeds.quote_feed import QuoteFeed
            from dashboard.feeds.trade_feed import TradeFeed
            from dashboard.feeds.trade_history import TradeHistory
            from dashboard.trade_state import TradeState, instruments_of

            trades, trade_history = TradeState(instruments_of(settings), time.monotonic), TradeHistory(settings)
            quotes = (QuoteFeed(settings, trades),) if settings.streams.quotes else ()
            feeds = (*feeds, *quotes, TradeFeed(settings, trades, clock))
        inspection = Inspection(settings, connect, wakeups.wake)
        wakeups.subscribe(lambda: inspection.trends.take(control.read()[0], clock.now_ms()))
        kept = History(history, trade_history)
        return cls(settings, clock, wakeups, live, control, kept, connect, feeds, inspection, alerts, alert_store, alert_feed, trades)

    def start(self) -> None:
        for feed in self.feeds:
            feed.start()

    def stop(self) -> None:
        for feed in self.feeds:
            feed.stop()
        self.workers.shutdown(wait=False, cancel_futures=True)
        self.history.close()
        self.inspection.close()
        self.alert_store.close()

    @property
    def tick_ms(self) -> int:
        """The tick interval, the unit of data age."""
        return self.settings.collect.tick_ms
