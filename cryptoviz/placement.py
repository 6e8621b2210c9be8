"""Where components run on a cluster: places as settings, and the choice of a node. Pure: nodes are values, and Ray is not imported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cryptoviz.addresses import is_loopback

__all__ = ["HEAD", "NODE_ID_LABEL", "ClusterNode", "Place", "candidates", "check_labels", "choose", "on_this_machine", "other_machines"]

NODE_ID_LABEL = "ray.io/node-id"
"""Label that Ray gives each node; its value is the node's id."""
_OF_RAY = "ray.io/"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?/"
_LABEL = re.compile(rf"label:((?:{_PREFIX})?{_NAME})=({_NAME})")
_RULES = ("spread", "pack", "head")


@dataclass(frozen=True, slots=True)
class Place:
    """A value of the settings of `CRYPTOVIZ_PLACEMENT__`.

    Attributes:
        rule: `spread` (evenly over the nodes), `pack` (on as few nodes as possible), `head` (the controller's node) or `label`.
        key, value: of `label`: evenly over the nodes with this label.
    """

    rule: str
    key: str = ""
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Inverse of `str`. Raises ValueError."""
        if text in _RULES:
            return cls(text)
        found = _LABEL.fullmatch(text)
        if found is None:
            raise ValueError(f"valid are {', '.join(_RULES)}, and label:KEY=VALUE with a label of Ray's nodes")
        return cls("label", *found.groups())

    def __str__(self) -> str:
        return f"label:{self.key}={self.value}" if self.rule == "label" else self.rule


HEAD = Place("head")


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of the Ray cluster that is alive. `cpus`: its logical CPUs, used or not."""

    id: str
    address: str
    cpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def all_of(cls, entries: Sequence[Mapping[str, Any]]) -> list[Self]:
        """Those alive in the output of `ray.nodes()`."""
        return [
            cls(entry["NodeID"], entry["NodeManagerAddress"], entry["Resources"].get("CPU", 0.0), entry.get("Labels") or {})
            for entry in entries
            if entry["Alive"]
        ]


def check_labels(text: str) -> str:
    """Validate the labels of a node, `KEY=VALUE`, or several with commas between them; an empty text is allowed."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        labels = [Place.parse(f"label:{part}") for part in parts]
    except ValueError:
        raise ValueError("valid is KEY=VALUE, or several with commas between them: zone=a,disk=ssd") from None
    keys = [label.key for label in labels]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]} is given twice: a label of a node has one value")
    if reserved := [key for key in keys if key.startswith(_OF_RAY)]:
        raise ValueError(f"{reserved[0]} is a label that Ray gives: valid are other keys than {_OF_RAY}..")
    return ",".join(f"{label.key}={label.value}" for label in labels)


def on_this_machine(node: ClusterNode, head: ClusterNode) -> bool:
    """Whether the node runs on the head's machine, so that it reaches what listens on its loopback."""
    return node.address == head.address or is_loopback(node.address)


def other_machines(nodes: Sequence[ClusterNode], head: ClusterNode) -> list[ClusterNode]:
    """The nodes on other machines than the head's."""
    return [node for node in nodes if not on_this_machine(node, head)]


def candidates(place: Place, nodes: Sequence[ClusterNode], head_id: str, *, local: bool = False) -> list[ClusterNode]:
    """The nodes that a place permits, in order of preference: the head last, because it also hosts everything else.

    `local`: only the head's machine, because the component uses servers on its loopback; a label still excludes the nodes without it.
    """
    head = next(node for node in nodes if node.id == head_id)
    permitted = [head] if place.rule == "head" else [node for node in nodes if place.rule != "label" or node.labels.get(place.key) == place.value]
    if local:
        permitted = [node for node in permitted if on_this_machine(node, head)]
    return sorted(permitted, key=lambda node: (node.id == head_id, node.address, node.id))


def no_candidate(place: Place, nodes: Sequence[ClusterNode], setting: str, *, local: bool) -> str:
    """Text for a label that no permitted node has. `setting`: of the place; `local`: as in `candidates`."""
    labels = sorted({f"{key}={value}" for node in nodes for key, value in node.labels.items() if not key.startswith(_OF_RAY)})
    where = "the head's machine, whose loopback is used," if local else "the cluster"
    return f"no node of {where} has the label {place.key}={place.value} ({setting}); labels of the nodes: {', '.join(labels) or 'none'}"


def choose(place: Place, permitted: Sequence[ClusterNode], taken: Mapping[str, int], avoid: Collection[str] = ()) -> ClusterNode:
    """The node for one more component.

    Args:
        place: how to choose.
        permitted: from `candidates`, at least one.
        taken: number of such components by the id of their node.
        avoid: ids of nodes to use only if there is no other.
    """
    sign = -1 if place.rule == "pack" else 1
    order = {node.id: rank for rank, node in enumerate(permitted)}
    return min(permitted, key=lambda node: (node.id in avoid, sign * taken.get(node.id, 0), order[node.id]))
