"""External engines: probed, never started or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from cryptoviz.components import Probe
from cryptoviz.errors import CryptoVizError

__all__ = ["ExternalEngine"]


class ExternalEngine:
    """An external service as a `cryptoviz.engines.build.Engine`.

    Args:
        name: component name.
        ask: ping in its own protocol; raises a CryptoVizError.
        prepare: creates missing topics or buckets; raises a CryptoVizError.
        close: closes connections.
    """

    def __init__(self, name: str, ask: Callable[[], tuple[str, Mapping[str, float]]], prepare: Callable[[], None], close: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._prepare = prepare
        self._close = close

    @property
    def url(self) -> str | None:
        return None

    @property
    def pid(self) -> int | None:
        return None

    def start(self) -> None:
        """Check that the service answers, and create missing topics or buckets."""
        self._ask()
        self._prepare()

    def stop(self, grace_s: float = 10.0) -> None:
        """Close the connections; the service keeps running."""
        del grace_s  # nothing to wait for
        self._close()

    def kill(self) -> None:
        """A no-op."""

    def probe(self) -> Probe:
        """Ping the service. `running` is always True, since the service is not controlled from here."""
        began = time.monotonic()
        try:
            message, metrics = self._ask()
        except CryptoVizError as error:
            return Probe(running=True, healthy=False, message=error.message)
        return Probe(running=True, healthy=True, message=message, metrics={"answer_ms": round((time.monotonic() - began) * 1000, 1), **metrics})
