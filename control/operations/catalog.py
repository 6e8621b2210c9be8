"""The kinds of operations: implementation, required components, and validation of arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control.reconcile.ray_runtime import import_class
from cryptoviz.errors import UnknownAsset
from cryptoviz.operations import Arguments, BackfillArguments, MaintenanceArguments, Operation, OperationKind, VerifyArguments
from cryptoviz.providers.registry import history_of, with_history
from cryptoviz.records import FIRST_TRADE_MS
from cryptoviz.settings import Settings
from spark_jobs.maintenance.result import MAINTAINED

__all__ = ["KINDS", "OperationSpec", "invalid_arguments", "make_operation"]


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """A kind of operation.

    Attributes:
        work: `module:Class` of its `cryptoviz.operations.Operation`, imported only in the operation's process.
        needs: components that must be up at the start.
    """

    work: str
    needs: tuple[str, ...] = ()


KINDS: dict[OperationKind, OperationSpec] = {
    OperationKind.BACKFILL: OperationSpec("actors.backfill.operation:Backfill", needs=("kafka", "object-store")),
    OperationKind.REPLAY: OperationSpec("actors.replay.operation:ReplayOperation", needs=("object-store",)),
    OperationKind.MAINTENANCE: OperationSpec("spark_jobs.maintenance.actor:MaintenanceOperation", needs=("object-store",)),
    OperationKind.REPLAY_DEAD_LETTERS: OperationSpec("control.operations.dead_letter_replay:ReplayDeadLetters", needs=("kafka", "object-store")),
    OperationKind.VERIFY: OperationSpec("control.operations.verification:Verification", needs=("kafka", "object-store")),
}


def make_operation(settings: Settings, operation_id: str, arguments: Arguments) -> Operation:
    """The implementation for `arguments`. Raises TerminalError when its module is not installed."""
    work: Any = import_class(KINDS[arguments.kind].work)
    made: Operation = work(settings, operation_id, arguments)
    return made


def invalid_arguments(arguments: Arguments, settings: Settings, now_ms: int) -> Iterator[tuple[str, str]]:
    """Violations as pairs of field and description; empty for valid arguments."""
    prefix = str(arguments.kind)
    for field, text in (*_range(arguments, now_ms), *_names(arguments, settings)):
        yield f"arguments.{prefix}.{field}", text


def _range(arguments: Arguments, now_ms: int) -> Iterator[tuple[str, str]]:
    if isinstance(arguments, (MaintenanceArguments, VerifyArguments)):
        return
    start_ms, end_ms = arguments.start_ms, arguments.end_ms
    if start_ms is not None and start_ms < FIRST_TRADE_MS:
        yield "start", "is before 2009-01-01"
    if start_ms is not None and start_ms > now_ms:
        yield "start", "is in the future"
    if end_ms is not None and end_ms > now_ms:
        yield "end", "is in the future"
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        yield "end", "is not after start"


def _names(arguments: Arguments, settings: Settings) -> Iterator[tuple[str, str]]:
    if isinstance(arguments, MaintenanceArguments):
        for unknown_table in sorted(set(arguments.tables) - set(MAINTAINED)):
            yield "tables", f"contains {unknown_table[:64]!r}; valid: {', '.join(MAINTAINED)}"
    if not isinstance(arguments, BackfillArguments):
        return
    try:
        settings.find_assets(arguments.assets)
    except UnknownAsset as unknown:
        yield "assets", unknown.message
    if arguments.provider is not None and history_of(arguments.provider) is None:
        yield ("provider", f"is {arguments.provider[:64]!r}, which has no price history for a backfill; valid: {', '.join(with_history())}")
