"""The node of the embedded engines, if they are placed by a label. Their data is on the disk of that node."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.local.private import write_private
from cryptoviz.placement import HEAD, ClusterNode, Place, candidates, on_this_machine
from cryptoviz.settings import Settings

__all__ = ["engine_node", "keep_engine_node", "require_engine_node"]

_SETTING = "CRYPTOVIZ_PLACEMENT__ENGINES"


def engine_node(settings: Settings, nodes: Sequence[ClusterNode], head_id: str) -> ClusterNode:
    """The node where the embedded engines run.

    Raises:
        EngineUnavailable: no node has the label; one may come back. Or the machine with the label is listed twice.
        PreflightError: several machines have it, clients would not reach the engines there, or the engines' data is on another node.
    """
    place = Place.parse(settings.placement.engines)
    found = candidates(place, nodes, head_id)
    label = f"{place.key}={place.value} ({_SETTING})"
    if not found:
        raise EngineUnavailable(f"no node of the cluster has the label {label}", engine="engines")
    addresses = sorted({node.address for node in found})
    if len(found) > len(addresses) == 1:
        why = "Ray still lists the one from before its restart, or it runs two"
        raise EngineUnavailable(f"the machine {addresses[0]} has {len(found)} nodes with the label {label}: {why}", engine="engines")
    if len(found) > 1:
        listed = ", ".join(addresses)
        raise _refused(f"{len(found)} nodes have the label {label}: {listed}; the engines need one, because their data is on its disk")
    node, head = found[0], next(each for each in nodes if each.id == head_id)
    if place != HEAD:
        _require_reached(settings, node, head, label)
    _require_data(settings, node, head)
    return node


def require_engine_node(settings: Settings, nodes: Sequence[ClusterNode], head_id: str) -> None:
    """Raises PreflightError if the embedded engines cannot start, as `engine_node` does, also if no node has the label."""
    if not (settings.kafka.embedded or settings.s3.embedded or settings.redis.embedded):
        return
    try:
        engine_node(settings, nodes, head_id)
    except EngineUnavailable as missing:
        labels = "; ".join(f"{node.address}: {', '.join(f'{key}={value}' for key, value in _own_labels(node)) or 'none'}" for node in nodes)
        raise _refused(f"{missing.message}; labels of the nodes: {labels}") from None


def keep_engine_node(settings: Settings, node: ClusterNode) -> None:
    """Remember on the head where the data is."""
    write_private(_record(settings), json.dumps({"address": node.address}))


def _require_reached(settings: Settings, node: ClusterNode, head: ClusterNode, label: str) -> None:
    reached_at = settings.engines.reached_at
    if not settings.engines.exposed and not on_this_machine(node, head):
        raise _refused(
            f"the node with the label {label} is {node.address}, and the engines would listen there on its loopback only: "
            f"set CRYPTOVIZ_ENGINES__BIND to {node.address}"
        )
    try:
        same = ipaddress.ip_address(reached_at) == ipaddress.ip_address(node.address)
    except ValueError:
        return  # a name, which only the network can resolve
    if not same:
        raise _refused(
            f"the node with the label {label} is {node.address}, and clients would look for the engines at {reached_at}: set "
            f"CRYPTOVIZ_ENGINES__BIND, or CRYPTOVIZ_ENGINES__ADVERTISED with it, to {node.address}"
        )


def _require_data(settings: Settings, node: ClusterNode, head: ClusterNode) -> None:
    kept = _kept_address(settings)
    embedded = {"kafka": settings.kafka.embedded, "minio": settings.s3.embedded, "redis": settings.redis.embedded}
    folders = [settings.home / name for name, ours in embedded.items() if ours]
    if kept is None and any(folder.is_dir() for folder in folders):
        kept = head.address
    if kept is not None and kept != node.address:
        raise _refused(
            f"the engines' data is on the node {kept}, and {_SETTING} is {settings.placement.engines}, the node {node.address}: move "
            f"{', '.join(map(str, folders))} there while the pipeline is stopped, and remove {_record(settings)}; or change the setting"
        )


def _kept_address(settings: Settings) -> str | None:
    try:
        return str(json.loads(_record(settings).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(settings: Settings) -> Path:
    return settings.home / "control" / "engine-node.json"


def _own_labels(node: ClusterNode) -> list[tuple[str, str]]:
    return sorted((key, value) for key, value in node.labels.items() if not key.startswith("ray.io/"))


def _refused(text: str) -> PreflightError:
    return PreflightError(text, problems=[_SETTING])
