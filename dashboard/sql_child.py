"""`python -m dashboard.sql_child`: one SELECT over the lake in a process of its own, which its parent ends to cancel it.

Reads a request of JSON from standard input, writes the result as an Arrow stream to standard output. Whatever DuckDB or a library would do beyond the
limits, the kernel ends: memory, processor time, and files, which the process cannot write at all.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from cryptoviz.errors import CryptoVizError, QueryError
from cryptoviz.local.hidden_modules import hide_modules
from cryptoviz.settings import settings_from_environment

__all__ = ["REFUSED", "SqlLimits", "SqlRequest", "main"]

REFUSED = 3
"""Exit status after an error that the user can read: one JSON object on standard error."""
_BATCH_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """Bounds of a query.

    Attributes:
        seconds: wall-clock time with the start of the process; the same of processor time on each of two cores.
        rows, result_bytes: size of the result; the rest is not computed.
        memory_bytes: of DuckDB.
        process_bytes: data of the whole process.
    """

    seconds: int = 60
    rows: int = 100_000
    result_bytes: int = 64 * 2**20
    memory_bytes: int = 384 * 2**20
    process_bytes: int = 2 * 2**30


@dataclass(frozen=True, slots=True)
class SqlRequest:
    """What the child reads."""

    sql: str
    limits: SqlLimits

    def to_json(self) -> bytes:
        return orjson.dumps({"sql": self.sql, "limits": asdict(self.limits)})

    @classmethod
    def from_json(cls, text: bytes) -> SqlRequest:
        found = orjson.loads(text)
        return cls(found["sql"], SqlLimits(**found["limits"]))


def _confine(limits: SqlLimits) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, limits.seconds * 2),
        (resource.RLIMIT_DATA, limits.process_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def main() -> int:
    """Exit status: 0, or `REFUSED`."""
    request = SqlRequest.from_json(sys.stdin.buffer.read())
    _confine(request.limits)
    hide_modules("pandas")  # Arrow would import it, which takes half of the start
    try:
        _write(request)
    except CryptoVizError as error:
        return _refuse(error)
    except MemoryError:
        return _refuse(QueryError("the query needs more memory than it may use", sql=request.sql))
    return 0


def _write(request: SqlRequest) -> None:
    import pyarrow as pa  # after the limits

    from cryptoviz.lake import Lake

    limits = request.limits
    lake = Lake(settings_from_environment())
    schema, batches = lake.stream(request.sql, rows=_BATCH_ROWS, memory_bytes=limits.memory_bytes)
    left = limits.rows + 1  # one more tells that there are more
    with pa.ipc.new_stream(sys.stdout.buffer, schema) as sink:
        for batch in batches:
            sink.write_batch(batch.slice(0, left))
            left -= min(left, batch.num_rows)
            if not left:
                break


def _refuse(error: CryptoVizError) -> int:
    place: dict[str, Any] = {"line": error.line, "column": error.column} if isinstance(error, QueryError) else {}
    sys.stderr.buffer.write(b"\n" + orjson.dumps({"error": error.message, **place}) + b"\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
