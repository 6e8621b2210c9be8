"""The life of an operation as pure functions: a status in, the next status out. What has ended is changed by `resumed` only."""

from __future__ import annotations

from typing import Any

from cryptoviz.operations import RESUMABLE, Arguments, OperationResult, OperationState, OperationStatus, Progress

__all__ = ["cancelled", "cancelling", "created", "failed", "interrupted", "progressed", "resumed", "running", "succeeded"]


def created(operation_id: str, arguments: Arguments, now_ms: int) -> OperationStatus:
    """A new one, before its process runs."""
    return OperationStatus(id=operation_id, arguments=arguments, created_ms=now_ms, message="starting")


def running(status: OperationStatus) -> OperationStatus:
    """Its process runs."""
    return status if status.state is not OperationState.PENDING else _next(status, state=OperationState.RUNNING, message="started")


def progressed(status: OperationStatus, progress: Progress) -> OperationStatus:
    """It told how far it is."""
    if status.over or progress == status.progress:
        return status
    return _next(status, progress=progress, message=progress.message or status.message)


def cancelling(status: OperationStatus) -> OperationStatus:
    """A person wants it to end."""
    return status if status.over else _next(status, state=OperationState.CANCELLING, message="ending as asked")


def succeeded(status: OperationStatus, result: OperationResult, now_ms: int) -> OperationStatus:
    """It did all of its work."""
    return _ended(status, OperationState.SUCCEEDED, result.message, now_ms, figures=result.figures, notes=result.notes)


def failed(status: OperationStatus, message: str, now_ms: int) -> OperationStatus:
    """It cannot go on."""
    return _ended(status, OperationState.FAILED, message, now_ms)


def cancelled(status: OperationStatus, now_ms: int) -> OperationStatus:
    """It ended as asked; what it did stays done."""
    return _ended(status, OperationState.CANCELLED, "cancelled; started again by its id it goes on", now_ms)


def interrupted(status: OperationStatus, reason: str, now_ms: int) -> OperationStatus:
    """Its process is gone; what it did stays done. One that was asked to end is CANCELLED."""
    if status.state is OperationState.CANCELLING:
        return cancelled(status, now_ms)
    return _ended(status, OperationState.INTERRUPTED, f"{reason}; started again by its id it goes on", now_ms)


def resumed(status: OperationStatus) -> OperationStatus:
    """It is started again. One that runs or succeeded stays as it is."""
    if status.state not in RESUMABLE:
        return status
    fresh: dict[str, Any] = {"progress": Progress(done=0), "ended_ms": None, "figures": {}, "notes": ()}
    return _next(status, state=OperationState.PENDING, message="starting again", attempt=status.attempt + 1, **fresh)


def _ended(status: OperationStatus, state: OperationState, message: str, now_ms: int, **more: Any) -> OperationStatus:
    return status if status.over else _next(status, state=state, message=message, ended_ms=now_ms, **more)


def _next(status: OperationStatus, **changes: Any) -> OperationStatus:
    return status.model_copy(update=changes | {"version": status.version + 1})
