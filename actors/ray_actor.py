"""Named Ray actors: the only module that creates, looks up, calls and kills actors, and that knows Ray's errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable
from cryptoviz.masking import clip

__all__ = ["ActorDied", "ActorGone", "NoAnswer", "RayActor", "join_cluster", "run_in_worker"]

_GONE_TIMEOUT_S = 10.0
_GONE_POLL_S = 0.05
_MAX_CONCURRENCY = 64
"""Concurrent calls per actor; well above what the controller and other actors need."""


@dataclass(eq=False, repr=False, kw_only=True)
class ActorGone(ComponentLost):
    """No actor has the name."""


@dataclass(eq=False, repr=False, kw_only=True)
class NoAnswer(ComponentLost):
    """The actor did not answer before the deadline."""


@dataclass(eq=False, repr=False, kw_only=True)
class ActorDied(ComponentLost):
    """The actor's process ended. `detail`: first line of Ray's message; the cause has all of it. `restarting`: Ray starts the actor again."""

    detail: str = ""
    restarting: bool = False


class RayActor:
    """The actor `name`. The first call looks it up, and so does the next call after a failed one."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._handle: Any = None

    def create(self, cls: type[Any], *arguments: object, **options: object) -> None:
        """Create the actor, or find it: unique by name, detached, restarted whenever it dies, without a CPU share. Blocks.

        It is pinned to the calling node: engines listen on loopback, and logs, token and data directory are on that node.

        Args:
            cls: its class.
            *arguments: of the constructor.
            **options: options of Ray that replace these.
        """
        service: dict[str, object] = {
            "name": self._name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "num_cpus": 0,
            "max_concurrency": _MAX_CONCURRENCY,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
        }
        remote: Any = ray.remote(cls)
        with _translated(self._name):
            self._handle = remote.options(**service | options).remote(*arguments)

    async def exists(self) -> bool:
        """Look the actor up."""
        try:
            self._handle = await asyncio.to_thread(ray.get_actor, self._name, namespace=self._namespace)
        except ValueError:
            self._handle = None
        return self._handle is not None

    async def call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        """The answer of a method. Look-up and call together have `timeout_s` seconds.

        Raises:
            ActorGone: no actor has the name.
            NoAnswer: no answer in time.
            ActorDied: the process ended.
            CryptoVizError: raised by the method; another exception of the method becomes ComponentLost.
        """
        try:
            with _translated(self._name, timeout_s):
                async with asyncio.timeout(timeout_s):
                    if self._handle is None and not await self.exists():
                        raise ActorGone("its process is gone", component=self._name)
                    return await getattr(self._handle, method).remote(*arguments)
        except CryptoVizError:
            self._handle = None
            raise

    async def kill(self) -> None:
        """Kill the actor and wait until its name is free; no error if none exists. Raises ComponentLost if it still exists after 10 s."""
        if not await self.exists():
            return
        await asyncio.to_thread(ray.kill, self._handle, no_restart=True)
        for _ in range(round(_GONE_TIMEOUT_S / _GONE_POLL_S)):
            if not await self.exists():
                return
            await asyncio.sleep(_GONE_POLL_S)
        raise ComponentLost(f"its process still exists {_GONE_TIMEOUT_S:.0f} s after it was killed", component=self._name)


async def run_in_worker(function: Callable[..., Any], *arguments: object, timeout_s: float) -> Any:
    """The result of a function that runs once in a Ray worker, which ends after being idle. Raises like `RayActor.call`."""
    with _translated(function.__name__, timeout_s):
        result: Any = ray.remote(num_cpus=0, max_retries=0)(function).remote(*arguments)
        try:
            async with asyncio.timeout(timeout_s):
                return await result
        except TimeoutError:
            ray.cancel(result, force=True)
            raise


def join_cluster(address: str, namespace: str) -> None:
    """Connect this process to a running cluster. Raises EngineUnavailable."""
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.WARNING)
    except (RayError, ConnectionError) as error:
        raise EngineUnavailable(str(error), engine="ray", address=address) from error


@contextmanager
def _translated(name: str, timeout_s: float = 0.0) -> Iterator[None]:
    try:
        yield
    except RayTaskError as error:  # before TimeoutError: Ray's exception is also of the cause's class
        cause = error.cause if isinstance(error.cause, BaseException) else error
        if isinstance(cause, CryptoVizError):
            raise cause from None
        raise ComponentLost(f"{type(cause).__name__}: {_first_line(cause)}", component=name) from None
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout_s:.0f} s", component=name) from None
    except RayError as error:
        restarting = isinstance(error, ActorUnavailableError)
        raise ActorDied("its process ended", component=name, detail=_first_line(error), restarting=restarting) from error


def _first_line(error: BaseException) -> str:
    # Ray's messages contain whole tracebacks; the first line is enough here, the rest is in the component's log.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clip(lines[0], 300) if lines else type(error).__name__
