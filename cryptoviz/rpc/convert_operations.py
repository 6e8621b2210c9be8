"""Conversion between operation messages and dataclasses."""

from __future__ import annotations

from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.masking import redact
from cryptoviz.operations import (
    Arguments,
    BackfillArguments,
    MaintenanceArguments,
    OperationState,
    OperationStatus,
    Progress,
    ReplayArguments,
    ReplayDeadLettersArguments,
    VerifyArguments,
)
from cryptoviz.rpc.convert import member, moment_ms, stamp, unknown_value

__all__ = ["arguments_from_proto", "arguments_to_proto", "operation_from_proto", "operation_to_proto"]


def arguments_to_proto(arguments: Arguments) -> pb.OperationArguments:
    """Convert arguments to their message."""
    match arguments:
        case BackfillArguments():
            span = {"start": stamp(arguments.start_ms), "end": stamp(arguments.end_ms)}
            return pb.OperationArguments(backfill=pb.BackfillArguments(assets=arguments.assets, provider=arguments.provider or "", **span))
        case ReplayArguments():
            span = {"start": stamp(arguments.start_ms), "end": stamp(arguments.end_ms)}
            return pb.OperationArguments(replay=pb.ReplayArguments(keep_rows=arguments.keep_rows, **span))
        case MaintenanceArguments():
            return pb.OperationArguments(maintenance=pb.MaintenanceArguments(tables=arguments.tables))
        case ReplayDeadLettersArguments():
            span = {"start": stamp(arguments.start_ms), "end": stamp(arguments.end_ms)}
            return pb.OperationArguments(replay_dead_letters=pb.ReplayDeadLettersArguments(reasons=arguments.reasons, **span))
        case VerifyArguments():
            return pb.OperationArguments(verify=pb.VerifyArguments())


def arguments_from_proto(message: pb.OperationArguments) -> Arguments:
    """Convert arguments from their message. Raises ValueError when no kind is set or a required field is missing."""
    which = message.WhichOneof("arguments")
    if which == "backfill":
        backfill = message.backfill
        return BackfillArguments(
            assets=tuple(backfill.assets),
            start_ms=moment_ms(backfill, "start"),
            end_ms=moment_ms(backfill, "end"),
            provider=backfill.provider or None,
        )
    if which == "replay":
        start_ms, end_ms = moment_ms(message.replay, "start"), moment_ms(message.replay, "end")
        if start_ms is None or end_ms is None:
            raise ValueError("replay requires start and end")
        return ReplayArguments(start_ms=start_ms, end_ms=end_ms, keep_rows=message.replay.keep_rows)
    if which == "maintenance":
        return MaintenanceArguments(tables=tuple(message.maintenance.tables))
    if which == "replay_dead_letters":
        letters = message.replay_dead_letters
        return ReplayDeadLettersArguments(reasons=tuple(letters.reasons), start_ms=moment_ms(letters, "start"), end_ms=moment_ms(letters, "end"))
    if which == "verify":
        return VerifyArguments()
    raise ValueError("must be one of backfill, replay, maintenance, replay_dead_letters, verify")


def operation_to_proto(status: OperationStatus) -> pb.Operation:
    """Convert an operation to its message."""
    return pb.Operation(
        id=status.id,
        arguments=arguments_to_proto(status.arguments),
        state=pb.OperationState.Value(f"OPERATION_STATE_{status.state.name}"),
        done=status.progress.done,
        total=status.progress.total,
        unit=status.progress.unit,
        message=redact(status.message),
        created=stamp(status.created_ms),
        ended=stamp(status.ended_ms),
        attempt=status.attempt,
        figures=status.figures,
        notes=status.notes,
        version=status.version,
    )


def operation_from_proto(message: pb.Operation) -> OperationStatus:
    """Convert an operation from its message."""
    try:
        arguments = arguments_from_proto(message.arguments)
    except ValueError:
        raise unknown_value(f"the arguments of operation {message.id[:64]!r}") from None
    return OperationStatus(
        id=message.id,
        arguments=arguments,
        state=member(OperationState, pb.OperationState, message.state),
        progress=Progress(done=message.done, total=message.total if message.HasField("total") else None, unit=message.unit, message=message.message),
        message=message.message,
        created_ms=message.created.ToMilliseconds(),
        ended_ms=moment_ms(message, "ended"),
        attempt=message.attempt,
        figures=dict(message.figures),
        notes=tuple(message.notes),
        version=message.version,
    )
