"""Probes of the components of one supervisor in one call: each call of an actor costs its caller and it 1 to 3 ms, whatever it does."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.ray_actor import RayActor
from cryptoviz.errors import CryptoVizError

__all__ = ["ProbeRound"]


class ProbeRound:
    """Joins the probes that begin in the same step of the event loop. A component that takes long delays no other: it is asked again, alone."""

    def __init__(self, supervisor: RayActor) -> None:
        self._supervisor = supervisor
        self._names: list[str] = []
        self._asking: asyncio.Task[dict[str, Any]] | None = None

    async def probe(self, name: str, timeout_s: float) -> Any:
        """The probe of a component. Raises as `RayActor.call`."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(timeout_s), name="probe of all components")
        self._names.append(name)
        # Shielded: a component that is stopped meanwhile takes only itself out.
        answer = (await asyncio.shield(self._asking)).get(name)
        if answer is None:
            return await self._supervisor.call("probe", name, timeout_s=timeout_s)
        if isinstance(answer, CryptoVizError):
            raise answer
        return answer

    async def _ask(self, timeout_s: float) -> dict[str, Any]:
        await asyncio.sleep(0)  # until all that begin in this step have given their names
        names, self._names, self._asking = self._names, [], None
        answers: dict[str, Any] = await self._supervisor.call("probe_all", names, timeout_s=timeout_s)
        return answers
