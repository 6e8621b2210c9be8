"""Conversion between control messages and dataclasses. Enum names differ only by a prefix."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.errors import ControlRefused
from cryptoviz.masking import redact
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = ["component_from_proto", "component_to_proto", "member", "pipeline_from_proto", "pipeline_to_proto", "unknown_value"]

E = TypeVar("E", bound=Enum)


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
