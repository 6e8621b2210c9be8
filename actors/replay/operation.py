"""The replay operation (`cryptoviz replay`)."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from datetime import datetime
from pathlib import Path

from actors.replay.row_diff import Comparison
from actors.replay.run import Replay, RowsFile
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.lake.reader import Lake
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.operations import OperationResult, Progress, ReplayArguments, Report, replay_key
from cryptoviz.settings import Settings
from cryptoviz.times import iso_ms, utc

__all__ = ["ReplayOperation", "result_of"]

MAX_FIELDS = 8


class ReplayOperation:
    """See `cryptoviz.operations.Operation`. Succeeds even if rows differ: the figures `different`, `missing` and `extra` count them."""

    def __init__(self, settings: Settings, operation_id: str, arguments: ReplayArguments) -> None:
        self._settings = settings
        self._id = operation_id
        self._arguments = arguments

    async def run(self, report: Report) -> OperationResult:
        """Replay the time range, window by window. Raises EngineUnavailable if the object store does not answer."""
        start, end = (utc(ms) for ms in (self._arguments.start_ms, self._arguments.end_ms))
        with tempfile.TemporaryDirectory(prefix="cryptoviz-replay-") as folder:
            if not self._arguments.keep_rows:
                return result_of(await self._replay(start, end, None, report))
            path = Path(folder) / "rows.parquet"
            with closing(RowsFile(path)) as out:
                found = await self._replay(start, end, out, report)
            await asyncio.to_thread(self._keep, path)
            return result_of(found)

    async def _replay(self, start: datetime, end: datetime, out: RowsFile | None, report: Report) -> Comparison:
        replay = Replay(Lake(self._settings), start, end, out)
        windows = replay.windows
        for number, window in enumerate(windows):
            done, found = number * 100 // len(windows), replay.comparison
            report(Progress(done=done, total=100, unit="%", message=f"{window[0]:%Y-%m-%d %H:%M}: {found.ticks} ticks, {_rows(found)}"))
            await replay.window(*window)
        return replay.comparison

    def _keep(self, path: Path) -> None:
        s3 = self._settings.s3
        with store_errors(s3.endpoint, "accept the replayed rows"):
            minio_client(S3Access.of(s3)).fput_object(s3.lake_bucket, replay_key(self._id), str(path))


def result_of(found: Comparison) -> OperationResult:
    """The result of the operation: counts by name, the first differences by field, and reasons for ticks that could not be replayed."""
    counts = {
        "ticks": found.ticks, "rows": found.compared, "equal": found.equal, "different": found.different, "missing": found.missing,
        "extra": found.extra, "unrecorded_ticks": sum(found.unrecorded_ticks.values()), "unrecorded_rows": found.unrecorded_rows,
    }  # fmt: skip
    recorded, replayed = found.hashes
    notes = [f"hash of the recorded rows {recorded}, of the replayed rows {replayed}"]
    if found.different_fields:
        notes.append("fields that differ: " + ", ".join(f"{name} {count}" for name, count in found.different_fields.most_common(MAX_FIELDS)))
    notes += [
        f"{iso_ms(one.tick_ts)} {one.asset_id} {one.field}: recorded {one.recorded!r}, replayed {one.replayed!r}" for one in found.differences
    ]  # fmt: skip
    notes += [f"{count} ticks not replayed: {reason}" for reason, count in found.unrecorded_ticks.most_common()]
    notes += found.reasons
    message = f"{found.ticks} ticks, {_rows(found)}"
    if found.unrecorded_ticks:
        message += f"; {counts['unrecorded_ticks']} ticks ({found.unrecorded_rows} rows) have no complete recording"
    return OperationResult(message=message, figures={name: float(count) for name, count in counts.items()}, notes=tuple(notes))


def _rows(found: Comparison) -> str:
    others = [f"{count} {name}" for name, count in (("different", found.different), ("missing", found.missing), ("extra", found.extra)) if count]
    return f"{found.equal} rows equal" + (f", {', '.join(others)}" if others else "")
