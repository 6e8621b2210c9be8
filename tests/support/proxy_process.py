"""A proxy in a separate process: delta-rs holds the GIL while it waits, so that one in the same process would never answer."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Generic, Self, TypeVar

__all__ = ["ProxyProcess"]

T = TypeVar("T")


class ProxyProcess(Generic[T]):
    """A context manager. `run` gets the other end of a pipe and `arguments`: it answers once it listens, and each request; None ends it."""

    def __init__(self, name: str, run: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=run, args=(theirs, *arguments), name=name, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(15)
        self._process.close()

    def ask(self, request: object) -> T:
        self._pipe.send(request)
        return self._answer()

    def _answer(self) -> T:
        assert self._pipe.poll(120), "the proxy does not answer"
        return self._pipe.recv()  # type: ignore[no-any-return]
