"""Dead-letter counts by reason, read from the table in a background thread, so that a large table does not delay the query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from cryptoviz.components import DEAD_LETTERS_METRIC
from cryptoviz.errors import CryptoVizError
from cryptoviz.lake.dead_letter_log import ReasonCounts
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings

__all__ = ["DeadLetterCounter"]

log = get_logger("lake")

_EVERY_S = 1.0
_RETRY_S = 30.0  # after a failed read


class DeadLetterCounter:
    """A thread that reads the table after the job has committed dead letters. `metrics` may be called from any thread."""

    def __init__(self, settings: Settings, written: Callable[[], int]) -> None:
        """`written` returns the number of dead letters committed by this run."""
        self._counts = ReasonCounts(settings)
        self._written = written
        self._seen: Mapping[str, int] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lake-dead-letters", daemon=True)

    def start(self) -> None:
        """Start the thread; it reads the table at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; the last counts stay readable."""
        self._closed.set()

    def metrics(self) -> dict[str, float]:
        """`dead_letters_total` over the whole table, and `dead_letters_<reason>_total` for each that occurs. Empty until the table was read."""
        seen = self._seen
        if seen is None:
            return {}
        total = max(sum(seen.values()), self._written())
        by_reason = {f"{DEAD_LETTERS_METRIC}{reason}_total": float(count) for reason, count in seen.items()}
        return {f"{DEAD_LETTERS_METRIC}total": float(total), **by_reason}

    def _loop(self) -> None:
        looked_at = -1
        wait_s = 0.0
        while not self._closed.wait(wait_s):
            wait_s = _EVERY_S
            written = self._written()
            if written == looked_at:
                continue
            try:
                self._seen = self._counts.look()
                looked_at = written
            except CryptoVizError as error:
                log.debug("dead_letters_not_counted", error=str(error))
                wait_s = _RETRY_S
