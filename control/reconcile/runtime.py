"""Interface to the runtime of components: Ray in production, a fake in unit tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from control.reconcile.components import ComponentSpec
from cryptoviz.components import Probe

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Runs components by name. Every call has its own deadline and is idempotent."""

    async def find(self, spec: ComponentSpec) -> Probe | None:
        """A probe of an existing actor, None if none exists. An actor that does not answer is reported as not running."""

    async def prepare(self, spec: ComponentSpec) -> None:
        """Create the actor if it does not exist, without starting its work. `start` does the same, so an error matters only there."""

    async def start(self, spec: ComponentSpec) -> None:
        """Create the actor if it does not exist, and start its work.

        Raises:
            TerminalError: a retry cannot succeed.
            TransientError: a retry may succeed.
        """

    async def probe(self, spec: ComponentSpec) -> Probe:
        """Probe the component. An actor that does not answer in time is running and not healthy.

        Raises:
            ComponentLost: the actor is dead or being restarted.
        """

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        """Let the component drain for at most `grace_s` seconds, then kill its actor and wait until it is gone. No error if none exists."""

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> Any:
        """Call a method of the component's actor.

        Raises:
            ComponentLost: the actor is dead, being restarted, or does not answer in time.
            CryptoVizError: raised by the method.
        """

    async def run_at(self, spec: ComponentSpec, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a function, in a thread or process of its own, on the node where the component is, or was last. Raises EngineUnavailable if that node
        does not answer.
        """
