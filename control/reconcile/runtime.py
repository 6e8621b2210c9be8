"""The seam to whatever runs the components: Ray in production, a fake in unit tests."""

from __future__ import annotations

from typing import Any, Protocol

from control.reconcile.components import ComponentSpec
from cryptoviz.components import Probe

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Runs components by name. Every call has a deadline of its own and is safe to repeat."""

    async def find(self, spec: ComponentSpec) -> Probe | None:
        """A probe of the component if its actor lives already; None if there is none. An actor that does not answer counts as not running."""
        ...

    async def start(self, spec: ComponentSpec) -> None:
        """Make the actor if there is none and start its work.

        Raises:
            TerminalError: starting again changes nothing.
            TransientError: a later start may work.
        """
        ...

    async def probe(self, spec: ComponentSpec) -> Probe:
        """A look at the component. One that does not answer in time is running and not healthy.

        Raises:
            ComponentLost: the actor is dead or being made anew.
        """
        ...

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        """Let the component drain for at most `grace_s` seconds, then end its actor and wait until it is gone. No error if there is none."""
        ...

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> Any:
        """What a method of the component's own answers.

        Raises:
            ComponentLost: the actor is dead, being made anew, or does not answer in time.
            CryptoVizError: what the method raises.
        """
        ...
