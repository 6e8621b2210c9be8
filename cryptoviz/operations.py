"""Operations: work with a beginning and an end that a person asks for, to all who run, start, watch or show it.

The work itself implements `Operation`. It runs in a process of its own, may be cancelled at any await, and may be killed at any time: whatever
it did must stay correct, and a second run with the same arguments must go on where the first ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

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
    "replay_key",
]


class OperationKind(StrEnum):
    """What sort of work it is."""

    BACKFILL = "backfill"
    REPLAY = "replay"
    MAINTENANCE = "maintenance"
    REPLAY_DEAD_LETTERS = "replay_dead_letters"


class OperationState(StrEnum):
    """Where it stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"


RESUMABLE = frozenset({OperationState.FAILED, OperationState.CANCELLED, OperationState.INTERRUPTED})
"""Started again by its id, it goes on."""
ENDED = RESUMABLE | {OperationState.SUCCEEDED}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackfillArguments(_Value):
    """Ticks from `start_ms` (inclusive) to `end_ms` (exclusive), UTC epoch milliseconds; None: from the first open gap, until now."""

    kind: Literal[OperationKind.BACKFILL] = OperationKind.BACKFILL
    assets: tuple[str, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None
    provider: str | None = None


class ReplayArguments(_Value):
    """Ticks from `start_ms` (inclusive) to `end_ms` (exclusive), UTC epoch milliseconds.

    With `keep_rows` the rows made again lie in the lake's bucket afterwards, as `replays/<operation id>.parquet`.
    """

    kind: Literal[OperationKind.REPLAY] = OperationKind.REPLAY
    start_ms: int
    end_ms: int
    keep_rows: bool = False


class MaintenanceArguments(_Value):
    """Names of tables; none means all."""

    kind: Literal[OperationKind.MAINTENANCE] = OperationKind.MAINTENANCE
    tables: tuple[str, ...] = ()


class ReplayDeadLettersArguments(_Value):
    """First words of reasons (none means any) and a range of Kafka's own time, UTC epoch milliseconds."""

    kind: Literal[OperationKind.REPLAY_DEAD_LETTERS] = OperationKind.REPLAY_DEAD_LETTERS
    reasons: tuple[str, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None


Arguments = Annotated[BackfillArguments | ReplayArguments | MaintenanceArguments | ReplayDeadLettersArguments, Field(discriminator="kind")]


class Progress(_Value):
    """How far it is: `done` of `total` (None while that is not known), both in `unit`; `message` is one line about now."""

    done: int = Field(ge=0)
    total: int | None = Field(default=None, ge=0)
    unit: str = ""
    message: str = ""


class OperationResult(_Value):
    """How it ended: one line, numbers by snake_case name, and lines about what needs a person's eye."""

    message: str
    figures: dict[str, float] = {}
    notes: tuple[str, ...] = ()


Report = Callable[[Progress], None]
"""Takes the newest progress; cheap, may be called for each row."""


class Operation(Protocol):
    """The work. Made as `Class(settings, operation_id, arguments)` in its own process, without any work in the constructor."""

    async def run(self, report: Report) -> OperationResult:
        """Do it all. Blocking calls go to threads. Raises a CryptoVizError that says what prevented it."""
        ...


class OperationStatus(_Value):
    """One operation as it is now. Times are UTC epoch milliseconds; `version` grows with each change."""

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
        """Of its arguments."""
        return self.arguments.kind

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
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
            "created": _iso(self.created_ms),
            "ended": None if self.ended_ms is None else _iso(self.ended_ms),
            "attempt": self.attempt,
            "figures": self.figures,
            "notes": list(self.notes),
        }


def replay_key(operation_id: str) -> str:
    """Where in the lake's bucket a replay keeps its rows."""
    return f"replays/{operation_id}.parquet"


def _iso(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
