"""The engines that the pipeline stands on, behind one Protocol: embedded (started by us) or external (probed only)."""

from __future__ import annotations

from typing import Protocol

from cryptoviz.components import Probe
from cryptoviz.settings import Settings

__all__ = ["ENGINE_NAMES", "Engine", "build_engine"]

ENGINE_NAMES = ("kafka", "object-store", "redis")


class Engine(Protocol):
    """One engine. Blocking calls, safe to repeat, to be made by one thread at a time; `probe` may run beside the others.

    An embedded engine's process dies with the process that started it, however that one ends.
    """

    name: str
    url: str | None
    """Where a person can look at it, if anywhere."""

    @property
    def pid(self) -> int | None:
        """Process id of the embedded engine while it runs; None for an external one."""
        ...

    def start(self) -> None:
        """Start it, wait until it answers, create its topics or buckets; an external one is asked for them only.

        Raises:
            PreflightError: a file that setup fetches is missing, or the port is taken.
            EngineUnavailable: it did not answer in time; the message ends with the last lines of its log.
        """
        ...

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, and end it by force after `grace_s` seconds. Does nothing when it does not run, or is external."""
        ...

    def probe(self) -> Probe:
        """Ask the service in its own protocol, within 2 s; never raises."""
        ...


def build_engine(name: str, settings: Settings) -> Engine:
    """The engine of that name, embedded or external as the settings say. Touches nothing yet. Raises UnknownComponent."""
    raise NotImplementedError(name, settings)
