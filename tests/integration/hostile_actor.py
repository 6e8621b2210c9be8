"""An actor and functions whose errors and answers do not survive the way to another process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import NoReturn

from actors.ray_actor import NoAnswer
from cryptoviz.errors import EngineUnavailable, SettingsError


class NoReconstruction(Exception):
    """Does not unpickle: its constructor requires a keyword, as that of `httpx.HTTPStatusError` does."""

    def __init__(self, message: str, *, request: int) -> None:
        super().__init__(message)
        self.request = request


class NoReduction(Exception):
    """Its pickling fails with an error that Ray does not expect."""

    def __reduce__(self) -> NoReturn:
        raise ValueError("cannot be reduced")


class NoText(Exception):
    def __str__(self) -> NoReturn:
        raise ZeroDivisionError


class NoLoading:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("not a number",)


class Unexpected(SettingsError):
    """Of another package, with a lock."""

    def __init__(self, message: str) -> None:
        super().__init__(message, setting="CRYPTOVIZ_X")
        self.lock = threading.Lock()


def locked(error: Exception) -> Exception:
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    return error


class Hostile:
    def __init__(self, how: str = "") -> None:
        if how == "raises":
            raise NoReconstruction("broken\nconstructor", request=1)
        if how == "typed":
            raise SettingsError("no such folder", setting="CRYPTOVIZ_HOME")

    @staticmethod
    def pid() -> int:
        return os.getpid()

    async def alive(self) -> int:
        return self.pid()

    async def ready(self) -> str:
        return "address"

    async def raises(self, kind: str) -> None:
        errors: dict[str, BaseException] = {
            "no reconstruction": NoReconstruction("HTTP 500\nfrom the store", request=1),
            "no reduction": NoReduction("from a library"),
            "lock": locked(ValueError("with a lock")),
            "no text": NoText(),
            "group": ExceptionGroup("two", [NoReconstruction("the first", request=1), EngineUnavailable("the second")]),
            "group of typed": ExceptionGroup("one", [ExceptionGroup("inner", [EngineUnavailable("away", engine="kafka")])]),
            "exit": SystemExit(3),
            "typed with a lock": Unexpected("as set"),
            "of another actor": NoAnswer("no answer within 3 s", component="other"),
        }
        raise errors[kind]

    async def waits_for_a_cancelled_task(self) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async def answers(self, kind: str) -> object:
        return threading.Lock() if kind == "lock" else NoLoading()

    async def hangs(self) -> None:
        await asyncio.Event().wait()


def fails_in_a_worker() -> None:
    raise NoReconstruction("no table", request=1)


def stops_in_a_worker() -> None:
    raise StopIteration(3)


def hangs_in_a_worker(path: Path) -> None:
    path.write_text(str(os.getpid()), encoding="ascii")
    time.sleep(600)
