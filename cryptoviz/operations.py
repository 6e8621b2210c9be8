"""Operations: finite work that a user starts, such as a backfill. Shared types for all parts that run, start, watch or show operations.

An operation implements `Operation`. It runs in a child process, may be cancelled at any await, and may be killed at any time: its partial results
must be correct, and a second run with the same arguments must continue where the first ended.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cryptoviz.times import iso_ms

__all__ = [
    "ENDED",
    "RESUMABLE",
    "Arguments",
    "BackfillArguments",
    "MaintenanceArguments",
    "Operation",
    "OperationKind",
    "OperationResult",
    "OperationState",
    "OperationStatus",
    "Progress",
    "ReplayArguments",
    "ReplayDeadLettersArguments",
    "Report",
    "VerifyArguments",
    "replay_key",
]


class OperationKind(StrEnum):
    """Kind of operation."""

    BACKFILL = "backfill"
    REPLAY = "replay"
    MAINTENANCE = "maintenance"
    REPLAY_DEAD_LETTERS = "replay_dead_letters"
    VERIFY = "verify"


class OperationState(StrEnum):
    """State of an operation."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"


RESUMABLE = frozenset({OperationState.FAILED, OperationState.CANCELLED, OperationState.INTERRUPTED})
"""States from which an operation can be resumed by its id."""
ENDED = RESUMABLE | {OperationState.SUCCEEDED}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackfillArguments(_Value):
    """Ticks from `start_ms` (inclusive) to `end_ms` (exclusive), UTC epoch milliseconds; None: from the first open gap, or to the current time."""

    kind: Literal[OperationKind.BACKFILL] = OperationKind.BACKFILL
    assets: tuple[str, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None
    provider: str | None = None


class ReplayArguments(_Value):
    """Ticks from `start_ms` (inclusive) to `end_ms` (exclusive), UTC epoch milliseconds.

    `keep_rows` stores the replayed rows in the lake's bucket, as `replays/<operation id>.parquet`.
    """

    kind: Literal[OperationKind.REPLAY] = OperationKind.REPLAY
    start_ms: int
    end_ms: int
    keep_rows: bool = False


class MaintenanceArguments(_Value):
    """Names of tables; empty means all."""

    kind: Literal[OperationKind.MAINTENANCE] = OperationKind.MAINTENANCE
    tables: tuple[str, ...] = ()


class ReplayDeadLettersArguments(_Value):
    """First words of reasons (empty means any), and a range of Kafka timestamps, UTC epoch milliseconds."""

    kind: Literal[OperationKind.REPLAY_DEAD_LETTERS] = OperationKind.REPLAY_DEAD_LETTERS
    reasons: tuple[str, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None


class VerifyArguments(_Value):
    """No choices."""

    kind: Literal[OperationKind.VERIFY] = OperationKind.VERIFY


Arguments = Annotated[
    BackfillArguments | ReplayArguments | MaintenanceArguments | ReplayDeadLettersArguments | VerifyArguments, Field(discriminator="kind")
]


class Progress(_Value):
    """Progress of an operation: `done` of `total` (None while unknown), both in `unit`; `message`: one line about the current work."""

    done: int = Field(ge=0)
    total: int | None = Field(default=None, ge=0)
    unit: str = ""
    message: str = ""


class OperationResult(_Value):
    """Result of an operation: one line, figures by snake_case name, and notes that need attention."""

    message: str
    figures: dict[str, float] = {}
    notes: tuple[str, ...] = ()


Report = Callable[[Progress], None]
"""Receives the newest progress; cheap, may be called for each row."""


class Operation(Protocol):
    """Implementation of an operation. Constructed as `Class(settings, operation_id, arguments)` in a child process; the constructor does no work."""

    async def run(self, report: Report) -> OperationResult:
        """Run to completion, with blocking calls in threads. Raises a CryptoVizError on failure."""


class OperationStatus(_Value):
    """Status of an operation. Times are UTC epoch milliseconds; `version` increases with each change."""

    id: str
    arguments: Arguments
    state: OperationState = OperationState.PENDING
    progress: Progress = Progress(done=0)
    message: str = ""
    created_ms: int
    ended_ms: int | None = None
    attempt: int = 1
    figures: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    version: int = 1

    @property
    def kind(self) -> OperationKind:
        return self.arguments.kind

    @property
    def over(self) -> bool:
        return self.state in ENDED

    def to_json_dict(self) -> dict[str, Any]:
        """For `--json`: times as ISO 8601 in UTC."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "arguments": self.arguments.model_dump(mode="json", exclude={"kind"}),
            "state": str(self.state),
            "done": self.progress.done,
            "total": self.progress.total,
            "unit": self.progress.unit,
            "message": self.message,
            "created": iso_ms(self.created_ms),
            "ended": None if self.ended_ms is None else iso_ms(self.ended_ms),
            "attempt": self.attempt,
            "figures": self.figures,
            "notes": list(self.notes),
        }


def replay_key(operation_id: str) -> str:
    """Key of a replay's rows in the lake's bucket."""
    return f"replays/{operation_id}.parquet"
