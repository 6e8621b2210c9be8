"""What the pages about the pipeline read: providers, operations, topics, lake, logs, SQL.

One for the process; nothing is read while no page shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar, cast

from cryptoviz.client import ControlClient
from cryptoviz.gaps import Gap
from cryptoviz.operations import OperationStatus
from cryptoviz.provider_status import ProviderStatus
from cryptoviz.settings import Settings
from dashboard.feeds.control_feed import ControlService
from dashboard.feeds.lake_browser import LakeBrowser
from dashboard.feeds.polled import Polled
from dashboard.feeds.sql_runner import SqlRunner
from dashboard.feeds.topic_browser import TopicBrowser
from dashboard.feeds.trends import MetricTrends
from dashboard.views.lake_rows import DeadLetter, LakeDay
from dashboard.views.topic_rows import TopicStatus

__all__ = ["MAX_LOG_LINES", "Inspection"]

T = TypeVar("T")

MAX_LOG_LINES = 500
_WORKERS = 4  # Kafka, the lake and the control service may each be slow to fail
_LOG_S = 5.0
_QUICK_S, _SLOW_S = 2.0, 10.0


class Inspection:
    """Values as `Polled`; everything else blocks, for `Session.in_background` with `workers`."""

    def __init__(self, settings: Settings, connect: Callable[[], ControlService], changed: Callable[[], None]) -> None:
        self._settings, self._connect = settings, connect
        self.workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="inspection")
        self.trends = MetricTrends()

        def polled(name: str, read: Callable[[], T], every_s: float) -> Polled[T]:
            return Polled(name, read, every_s, self.workers, changed)

        self.providers: Polled[list[ProviderStatus]] = polled("providers", lambda: self._ask(lambda client: client.providers()), _QUICK_S)
        self.operations: Polled[list[OperationStatus]] = polled("operations", lambda: self._ask(lambda client: client.operations.list()), _QUICK_S)
        self.topics: Polled[list[TopicStatus]] = polled("topics", self._topics, _QUICK_S)
        self.days: Polled[list[LakeDay]] = polled("days", self._days, _SLOW_S)
        self.gaps: Polled[list[Gap]] = polled("gaps", self._gaps, _SLOW_S)
        self.dead_letters: Polled[tuple[Mapping[str, int], list[DeadLetter]]] = polled("dead letters", self._dead_letters, _SLOW_S)

    @cached_property
    def lake(self) -> LakeBrowser:
        return LakeBrowser(self._settings)

    @cached_property
    def topic_browser(self) -> TopicBrowser:
        return TopicBrowser(self._settings)

    @cached_property
    def sql(self) -> SqlRunner:
        return SqlRunner(self._settings)

    def log_lines(self, component: str, lines: int) -> list[str]:
        """The last lines of a component's log."""
        return self._ask(lambda client: list(client.tail_logs(component, min(lines, MAX_LOG_LINES), timeout_s=_LOG_S)))

    # Methods, because lake and topic browser are made when first needed.
    def _days(self) -> list[LakeDay]:
        return self.lake.days()

    def _gaps(self) -> list[Gap]:
        return self.lake.gaps()

    def _dead_letters(self) -> tuple[Mapping[str, int], list[DeadLetter]]:
        return self.lake.dead_letters()

    def _topics(self) -> list[TopicStatus]:
        return self.topic_browser.overview()

    def close(self) -> None:
        """End all queries; running reads continue to their end."""
        if "sql" in self.__dict__:
            self.sql.close()
        self.workers.shutdown(wait=False, cancel_futures=True)

    def _ask(self, call: Callable[[ControlClient], T]) -> T:
        client = cast("ControlClient", self._connect())
        try:
            return call(client)
        finally:
            client.close()
