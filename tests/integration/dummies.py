"""Component actors with configurable behaviour, for tests of the Ray runtime."""

from __future__ import annotations

import asyncio
import os

from cryptoviz.components import Probe
from cryptoviz.errors import EngineUnavailable, PreflightError


class Dummy:
    """Fails in the way named by `how`."""

    def __init__(self, how: str = "") -> None:
        if how == "no constructor":
            raise RuntimeError("broken constructor")
        self._how = how
        self._prepared = False
        self._started = False

    async def prepare(self) -> None:
        self._prepared = True

    async def start(self) -> None:
        if self._how == "terminal":
            raise PreflightError("port 1 is taken", problems=["1"])
        if self._how == "transient":
            raise EngineUnavailable("not yet", engine="dummy")
        if self._how == "bug":
            raise ZeroDivisionError("oops\nsecond line")
        if self._how == "hang in start":
            await asyncio.Event().wait()
        self._started = True

    async def stop(self) -> None:
        if self._how == "hang in stop":
            await asyncio.Event().wait()
        if self._how == "bug in stop":
            raise ZeroDivisionError("oops")
        self._started = False

    async def kill(self) -> None:
        self._started = False

    async def probe(self) -> Probe:
        if self._how == "hang in probe":
            await asyncio.Event().wait()
        if self._how == "bug in probe":
            raise ZeroDivisionError("oops")
        return Probe(running=self._started, healthy=self._started, pid=os.getpid(), metrics={"prepared": float(self._prepared)})
