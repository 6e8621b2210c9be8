"""State transitions of an operation as pure functions from status to status. After the end only `resumed` changes a status."""

from __future__ import annotations

from typing import Any

from cryptoviz.operations import RESUMABLE, Arguments, OperationResult, OperationState, OperationStatus, Progress

__all__ = ["cancelled", "cancelling", "created", "failed", "interrupted", "progressed", "resumed", "running", "succeeded"]


def created(operation_id: str, arguments: Arguments, now_ms: int) -> OperationStatus:
    """A new operation, before its process runs."""
    return OperationStatus(id=operation_id, arguments=arguments, created_ms=now_ms, message="starting")


def running(status: OperationStatus) -> OperationStatus:
    """The operation's process runs."""
    return status if status.state is not OperationState.PENDING else _next(status, state=OperationState.RUNNING, message="started")


def progressed(status: OperationStatus, progress: Progress) -> OperationStatus:
    """The operation reported progress."""
    if status.over or progress == status.progress:
        return status
    return _next(status, progress=progress, message=progress.message or status.message)


def cancelling(status: OperationStatus) -> OperationStatus:
    """Cancellation was requested."""
    return status if status.over else _next(status, state=OperationState.CANCELLING, message="cancelling")


def succeeded(status: OperationStatus, result: OperationResult, now_ms: int) -> OperationStatus:
    """All work is done."""
    return _ended(status, OperationState.SUCCEEDED, result.message, now_ms, figures=result.figures, notes=result.notes)


def failed(status: OperationStatus, message: str, now_ms: int) -> OperationStatus:
    """The operation cannot continue."""
    return _ended(status, OperationState.FAILED, message, now_ms)


def cancelled(status: OperationStatus, now_ms: int) -> OperationStatus:
    """The operation ended after a cancel; completed work is kept."""
    return _ended(status, OperationState.CANCELLED, "cancelled; `cryptoviz operations resume` continues it", now_ms)


def interrupted(status: OperationStatus, reason: str, now_ms: int) -> OperationStatus:
    """The process is gone; completed work is kept. CANCELLED if a cancel was requested, else INTERRUPTED."""
    if status.state is OperationState.CANCELLING:
        return cancelled(status, now_ms)
    return _ended(status, OperationState.INTERRUPTED, f"{reason}; `cryptoviz operations resume` continues it", now_ms)


def resumed(status: OperationStatus) -> OperationStatus:
    """The operation is started again. A running or succeeded operation is unchanged."""
    if status.state not in RESUMABLE:
        return status
    fresh: dict[str, Any] = {"progress": Progress(done=0), "ended_ms": None, "figures": {}, "notes": ()}
    return _next(status, state=OperationState.PENDING, message="starting again", attempt=status.attempt + 1, **fresh)


def _ended(status: OperationStatus, state: OperationState, message: str, now_ms: int, **more: Any) -> OperationStatus:
    return status if status.over else _next(status, state=state, message=message, ended_ms=now_ms, **more)


def _next(status: OperationStatus, **changes: Any) -> OperationStatus:
    return status.model_copy(update=changes | {"version": status.version + 1})
