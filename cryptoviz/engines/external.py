"""Engines that somebody else runs: asked, never started or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from cryptoviz.components import Probe
from cryptoviz.errors import CryptoVizError

__all__ = ["ExternalEngine"]


class ExternalEngine:
    """A service of yours behind the contract of `cryptoviz.engines.build.Engine`.

    Args:
        name: component name.
        ask: a question in its own protocol; raises a CryptoVizError.
        prepare: creates the topics or buckets that are missing; raises a CryptoVizError.
        close: lets go of connections.
    """

    def __init__(self, name: str, ask: Callable[[], tuple[str, Mapping[str, float]]], prepare: Callable[[], None], close: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._prepare = prepare
        self._close = close

    @property
    def url(self) -> str | None:
        """Unknown: it is yours."""
        return None

    @property
    def pid(self) -> int | None:
        """None: its process is not ours."""
        return None

    def start(self) -> None:
        """Make sure that it answers and holds what the pipeline needs."""
        self._ask()
        self._prepare()

    def stop(self, grace_s: float = 10.0) -> None:
        """Let go of our connections; the service goes on."""
        del grace_s  # nothing to wait for
        self._close()

    def probe(self) -> Probe:
        """Ask it. It runs whatever we do, so `running` is always True."""
        began = time.monotonic()
        try:
            message, metrics = self._ask()
        except CryptoVizError as error:
            return Probe(running=True, healthy=False, message=error.message)
        return Probe(running=True, healthy=True, message=message, metrics={"answer_ms": round((time.monotonic() - began) * 1000, 1), **metrics})
