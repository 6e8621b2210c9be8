"""Conversion between control messages and dataclasses. Enum names differ only by a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.errors import ControlRefused
from cryptoviz.masking import redact
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = [
    "MethodCalls", "calls_from_proto", "component_from_proto", "component_to_proto", "member", "moment_ms", "pipeline_from_proto",
    "pipeline_to_proto", "stamp", "unknown_value",
]  # fmt: skip

E = TypeVar("E", bound=Enum)

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, as timestamp.proto says."""


@dataclass(frozen=True, slots=True)
class MethodCalls:
    """Calls of one method since the start of the service.

    Attributes:
        method: full name with slashes; `unknown` stands for all methods that do not exist.
        calls: number of ended calls by the name of their code.
        latency: upper bound (inclusive, s) and number of calls of each bucket; the last bound is infinite. All zero for streams.
        latency_sum_s: sum of the latencies.
    """

    method: str
    calls: Mapping[str, int]
    latency: tuple[tuple[float, int], ...]
    latency_sum_s: float


def member(kind: type[E], names: Any, number: int) -> E:
    """The member of `kind` that a number of the contract's enum `names` means. Raises ControlRefused if this version does not know it."""
    prefix = names.Name(0).removesuffix("UNSPECIFIED")
    try:
        return kind[names.Name(number).removeprefix(prefix)]
    except (KeyError, ValueError):
        raise unknown_value(f"{names.DESCRIPTOR.name} {number}") from None


def unknown_value(received: str) -> ControlRefused:
    """The error for a response that only a later version understands."""
    return ControlRefused(f"the control service sent {received}, which this version does not know; use a client of its version", code="UNIMPLEMENTED")


def stamp(moment_ms: int | None) -> Timestamp | None:
    """Convert to a Timestamp; None stays None."""
    if moment_ms is None:
        return None
    made = Timestamp()
    # External values may be outside protobuf's range; they are clamped, so that the response can be sent.
    made.FromMilliseconds(min(max(moment_ms, _FIRST_MS), _LAST_MS))
    return made


def moment_ms(message: Any, field: str) -> int | None:
    """The time in a field of a message, None if absent."""
    return getattr(message, field).ToMilliseconds() if message.HasField(field) else None


def component_to_proto(status: ComponentStatus) -> pb.Component:
    """Convert a component to its message."""
    message = pb.Component(
        name=status.name,
        kind=pb.ComponentKind.Value(f"COMPONENT_KIND_{status.kind.name}"),
        desired=pb.DesiredState.Value(f"DESIRED_STATE_{status.desired.name}"),
        state=pb.ComponentState.Value(f"COMPONENT_STATE_{status.state.name}"),
        trigger=str(status.trigger),
        # May contain a library's error text, which does not redact secrets.
        message=redact(status.message),
        restarts=status.restarts,
        metrics=status.metrics,
        depends_on=status.depends_on,
        pid=status.pid,
        url=status.url or "",
        nodes=status.nodes,
    )
    message.since.FromMilliseconds(status.since_ms)
    return message


def component_from_proto(message: pb.Component) -> ComponentStatus:
    """Convert a component from its message. An unknown trigger becomes NONE."""
    known = message.trigger in Trigger.__members__.values()
    return ComponentStatus(
        name=message.name,
        kind=member(ComponentKind, pb.ComponentKind, message.kind),
        desired=member(DesiredState, pb.DesiredState, message.desired),
        state=member(ComponentState, pb.ComponentState, message.state),
        trigger=Trigger(message.trigger) if known else Trigger.NONE,
        message=message.message,
        since_ms=message.since.ToMilliseconds(),
        restarts=message.restarts,
        metrics=dict(message.metrics),
        depends_on=tuple(message.depends_on),
        pid=message.pid if message.HasField("pid") else None,
        url=message.url or None,
        nodes=tuple(message.nodes),
    )


def pipeline_to_proto(status: PipelineStatus) -> pb.Pipeline:
    """Convert the pipeline to its message."""
    return pb.Pipeline(
        state=pb.ComponentState.Value(f"COMPONENT_STATE_{status.state.name}"),
        reason=status.reason,
        components=[component_to_proto(component) for component in status.components],
        replayed=status.replayed,
        version=status.version,
        id=status.id,
    )


def pipeline_from_proto(message: pb.Pipeline) -> PipelineStatus:
    """Convert the pipeline from its message."""
    return PipelineStatus(
        state=member(ComponentState, pb.ComponentState, message.state),
        reason=message.reason,
        components=tuple(component_from_proto(component) for component in message.components),
        replayed=message.replayed,
        version=message.version,
        id=message.id,
    )


def calls_from_proto(message: pb.ListCallMetricsResponse) -> list[MethodCalls]:
    """Convert the metrics of all methods."""
    bounds = (*message.bounds_s, float("inf"))
    return [MethodCalls(one.method, dict(one.calls), tuple(zip(bounds, one.latency, strict=True)), one.latency_sum_s) for one in message.methods]
