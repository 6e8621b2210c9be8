"""Named Ray actors: the only module that creates, looks up, calls and kills actors, and that knows Ray's errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RaySystemError, RayTaskError, UnserializableException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable, PreflightError
from cryptoviz.masking import clip
from cryptoviz.placement import ClusterNode

__all__ = [
    "ActorDied",
    "ActorGone",
    "NoAnswer",
    "RayActor",
    "alive_nodes",
    "cluster_nodes",
    "guarded_class",
    "join_cluster",
    "own_node",
    "run_in_worker",
    "run_on_other_nodes",
]

_GONE_TIMEOUT_S = 10.0
_GONE_POLL_S = 0.05
_MAX_CONCURRENCY = 64
"""Concurrent calls per actor; well above what the controller and other actors need."""
_NODE_METHOD = "id_of_ray_node"
"""A method that every actor gets."""


class ActorGone(ComponentLost):
    """No actor has the name."""


class NoAnswer(ComponentLost):
    """The actor did not answer before the deadline."""


class ActorDied(ComponentLost):
    """The actor's process ended. `restarting`: Ray starts the actor again.

    `detail`: the error of the constructor, or the first line of Ray's message; the cause has all of it.
    """

    detail: str = ""
    restarting: bool = False


class RayActor:
    """The actor `name`. The first call looks it up, and so does the next call after a failed one."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._handle: Any = None

    def create(self, cls: type[Any], *arguments: object, node: str = "", **options: object) -> None:
        """Create the actor, or find it: unique by name, detached, restarted whenever it dies, without a CPU share. Blocks.

        Args:
            cls: its class.
            *arguments: of the constructor.
            node: id of the node that it is pinned to, also when it is restarted. By default the calling node, which has the data directory.
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
            # Ray would send an event of every probe to the GCS, which keeps 100 000.
            "enable_task_events": False,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node or own_node(), soft=False),
        }
        remote: Any = ray.remote(guarded_class(cls, self._name))
        with _translated(self._name):
            self._handle = remote.options(**service | options).remote(*arguments)

    async def exists(self) -> bool:
        with _translated(self._name):
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
            CryptoVizError: raised by the method. ComponentLost stands for another exception of the method, and for an answer that cannot be read.
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

    async def node(self, timeout_s: float) -> str:
        """Id of the node that it runs on. Raises as `call`."""
        return str(await self.call(_NODE_METHOD, timeout_s=timeout_s))

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


async def run_in_worker(function: Callable[..., Any], *arguments: object, timeout_s: float, node: str = "") -> Any:
    """The result of a function that runs once in a Ray worker, which ends after being idle. Raises like `RayActor.call`.

    `node`: the id of the node where it runs.
    """
    options: dict[str, Any] = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)} if node else {}
    with _translated(function.__name__, timeout_s):
        result: Any = ray.remote(num_cpus=0, max_retries=0, **options)(_guarded(function, function.__name__)).remote(*arguments)
        try:
            async with asyncio.timeout(timeout_s):
                return await result
        except (TimeoutError, asyncio.CancelledError):
            ray.cancel(result, force=True)
            raise


def join_cluster(address: str, namespace: str) -> None:
    """Connect this process to a running cluster.

    Raises:
        EngineUnavailable: it does not answer.
        PreflightError: it cannot be joined from here: it runs another version of Ray or Python, or has no node on this machine.
    """
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.WARNING)
    except (RayError, ConnectionError) as error:
        raise EngineUnavailable(str(error), engine="ray", address=address) from error
    except RuntimeError as error:
        raise PreflightError(f"the Ray cluster at {address} cannot be joined: {' '.join(str(error).split())}", problems=["ray"]) from error


def cluster_nodes() -> list[ClusterNode]:
    """The cluster's nodes that are alive."""
    return ClusterNode.all_of(ray.nodes())


def alive_nodes() -> dict[str, str]:
    """Ids of the cluster's nodes that are alive, by address."""
    return {node.address: node.id for node in cluster_nodes()}


def own_node() -> str:
    """Id of the node of this process."""
    return str(ray.get_runtime_context().get_node_id())


def run_on_other_nodes(function: Callable[..., Any], *arguments: object, timeout_s: float) -> dict[str, Any]:
    """Results of a function that runs on each other node that is alive, or the CryptoVizErrors in their place, by address. Blocks.

    Of a machine that Ray lists twice, as for a while after its restart, a result rather than an error.
    """

    async def run(node: str) -> Any:
        try:
            return await run_in_worker(function, *arguments, timeout_s=timeout_s, node=node)
        except CryptoVizError as error:
            return error

    async def run_all() -> dict[str, Any]:
        here = own_node()
        others = [node for node in cluster_nodes() if node.id != here]
        answers = await asyncio.gather(*(run(node.id) for node in others))
        found = [(node.address, answer) for node, answer in zip(others, answers, strict=True)]
        return dict(sorted(found, key=lambda one: not isinstance(one[1], CryptoVizError)))

    return asyncio.run(run_all())


def guarded_class(cls: type[Any], name: str) -> type[Any]:
    """`cls`, with errors of its constructor and public methods as `_sendable`."""
    found = ((key, inspect.getattr_static(cls, key)) for key in dir(cls) if key == "__init__" or not key.startswith("_"))
    methods = {key: _guarded(function, name) for key, function in found if inspect.isfunction(function)}
    methods[_NODE_METHOD] = _node_of_actor
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, "__qualname__": cls.__qualname__, **methods})


def _node_of_actor(self: object) -> str:
    del self
    return own_node()


def _guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def guarded(*arguments: object, **options: object) -> Any:
            try:
                return await function(*arguments, **options)
            except (Exception, SystemExit) as error:
                raise _sendable(error, name) from error
    else:

        @functools.wraps(function)
        def guarded(*arguments: object, **options: object) -> Any:
            try:
                return function(*arguments, **options)
            except (Exception, SystemExit) as error:
                raise _sendable(error, name) from error

    return guarded


def _sendable(error: BaseException, name: str) -> CryptoVizError:
    """The error that a method of the actor `name` raises instead of `error`: the caller can unpickle it.

    Ray ends a process whose error it cannot pickle, gets no further answer from a process whose method raised SystemExit, and reports an error that
    does not unpickle only as text. A CryptoVizError keeps its type and loses only attributes that do not pickle. Of a group, the first error counts.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CryptoVizError):
        kept = copy(error)
        for key in [key for key, value in vars(error).items() if not _pickles(value)]:
            del kept.__dict__[key]
        if _pickles(kept):
            return kept
    return ComponentLost(f"{type(error).__name__}: {_first_line(error)}", component=name)


def _pickles(value: object) -> bool:
    try:
        cloudpickle.loads(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001 (of any package)
        return False
    return True


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
    except UnserializableException as error:
        raise ComponentLost(f"its error cannot be read: {_lines(error)[-1]}", component=name) from error
    except RayError as error:
        if isinstance(error, RaySystemError) and error.traceback_str:
            raise ComponentLost(f"its answer cannot be read: {_first_line(error)}", component=name) from error
        restarting = isinstance(error, ActorUnavailableError)
        of_constructor = isinstance(error, ActorDiedError) and error.actor_init_failed
        detail = _lines(error)[-1].removeprefix(f"{ComponentLost.__module__}.{ComponentLost.__name__}: ") if of_constructor else _first_line(error)
        raise ActorDied("its process ended", component=name, detail=detail, restarting=restarting) from error


def _first_line(error: BaseException) -> str:
    # Ray's messages contain whole tracebacks; the first line is enough here, the rest is in the component's log.
    return _lines(error)[0]


def _lines(error: BaseException) -> list[str]:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (of any package)
        text = ""
    return [clip(line.strip(), 300) for line in text.splitlines() if line.strip()] or [type(error).__name__]
