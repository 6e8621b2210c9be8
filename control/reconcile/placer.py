"""The nodes of components: chosen when an actor is created, then as the actor says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from actors.ray_actor import cluster_nodes, own_node
from control.reconcile.components import ComponentSpec
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.components import ComponentKind
from cryptoviz.engines.build import ENGINE_NAMES
from cryptoviz.errors import EngineUnavailable
from cryptoviz.placement import HEAD, ClusterNode, candidates, choose, no_candidate

__all__ = ["Placer"]

_SILENT_S = 60.0
"""Longer than Ray takes to notice that a machine has gone (28 s, `cryptoviz.cli.cluster_node`), during which it lists the node as alive."""


class Placer:
    """For one event loop.

    Args:
        list_nodes: the cluster's nodes that are alive; blocks.
        head: id of the controller's node.
        clock: source of time.
        engine_node: the node of the engines, of the cluster's nodes and the id of the head; raises if they cannot start.
        keep_engine_node: called with that node before they start.
    """

    def __init__(
        self,
        list_nodes: Callable[[], list[ClusterNode]] = cluster_nodes,
        head: Callable[[], str] = own_node,
        clock: Clock | None = None,
        engine_node: Callable[[Sequence[ClusterNode], str], ClusterNode] | None = None,
        keep_engine_node: Callable[[ClusterNode], None] = lambda _: None,
    ) -> None:
        self._list_nodes = list_nodes
        self._head = head
        self._clock = clock or SystemClock()
        self._engine_node = engine_node
        self._keep_engine_node = keep_engine_node
        self._addresses: dict[str, str] = {}
        self._placed: dict[str, str] = {}
        self._silent_until_s: dict[str, float] = {}

    async def choose(self, spec: ComponentSpec) -> str:
        """Id of the node for a new actor.

        Raises:
            EngineUnavailable: no node has the label; a machine with it may come back.
            PreflightError: of `engine_node`.
        """
        head = self._head()
        if spec.place == HEAD:
            return head
        nodes = await self._nodes()
        if spec.kind is ComponentKind.ENGINE and self._engine_node is not None:
            node = self._engine_node(nodes, head)
            self._keep_engine_node(node)
            self._placed[spec.name] = node.id
            return node.id
        permitted = candidates(spec.place, nodes, head, local=spec.local)
        if not permitted:
            raise EngineUnavailable(no_candidate(spec.place, nodes, spec.place_setting, local=spec.local), engine=spec.name)
        now_s = self._clock.monotonic_s()
        silent = {node for node, until_s in self._silent_until_s.items() if now_s < until_s}
        taken = Counter(node for name, node in self._placed.items() if name not in (spec.name, *ENGINE_NAMES))
        # Recorded at once, so that components created at the same time are spread too.
        chosen = self._placed[spec.name] = choose(spec.place, permitted, taken, silent).id
        return chosen

    async def found(self, spec: ComponentSpec, node: str) -> str:
        """Record the node where the actor is. Returns its address; empty if it has left the cluster."""
        if spec.place != HEAD:
            self._placed[spec.name] = node
        if node not in self._addresses:
            await self._nodes()
        return self._addresses.get(node, "")

    def address(self, node: str) -> str:
        """Address of a node that is or was in the cluster; its id otherwise."""
        return self._addresses.get(node, node)

    def of(self, name: str) -> str:
        """Id of the node where a placed component was last; empty for the others."""
        return self._placed.get(name, "")

    def silent(self, name: str) -> None:
        """The component did not answer: other nodes are preferred for a while."""
        if name in self._placed:
            self._silent_until_s[self._placed[name]] = self._clock.monotonic_s() + _SILENT_S

    async def _nodes(self) -> list[ClusterNode]:
        nodes = await asyncio.to_thread(self._list_nodes)
        self._addresses |= {node.id: node.address for node in nodes}
        return nodes
