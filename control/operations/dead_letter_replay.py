"""The operation `replay_dead_letters`: `spark_jobs.dead_letters` as a `cryptoviz.operations.Operation`."""

from __future__ import annotations

import asyncio
from datetime import datetime

from cryptoviz.operations import OperationResult, Progress, ReplayDeadLettersArguments, Report
from cryptoviz.settings import Settings
from cryptoviz.times import utc
from spark_jobs.dead_letters import DeadLetterReplay, ReplayCounts

__all__ = ["ReplayDeadLetters"]


class ReplayDeadLetters:
    """Publishes valid dead letters again. A cancelled or killed run can be repeated: published records are in the replay topic."""

    def __init__(self, settings: Settings, operation_id: str, arguments: ReplayDeadLettersArguments) -> None:
        self._settings = settings
        self._arguments = arguments
        del operation_id

    async def run(self, report: Report) -> OperationResult:
        asked = self._arguments
        replay = DeadLetterReplay(self._settings, asked.reasons, _moment(asked.start_ms), _moment(asked.end_ms))

        def report_progress(done: int, total: int) -> None:
            report(Progress(done=done, total=total, unit="dead letters"))

        work = asyncio.create_task(asyncio.to_thread(replay.run, report_progress))
        try:
            replayed = await asyncio.shield(work)
        except asyncio.CancelledError:
            replay.stop()
            await work  # lets the open transaction finish
            raise
        return result_of(replayed)


def result_of(replayed: ReplayCounts) -> OperationResult:
    """Summary line, figures, and a note for each remaining reason."""
    left = sum(replayed.still_bad.values())
    message = (
        f"{replayed.looked_at} checked: {replayed.published} published, {replayed.done_before} published earlier, "
        f"{replayed.in_lake} already in the lake, {left} still invalid"
    )
    figures = {
        "looked_at_total": replayed.looked_at,
        "published_total": replayed.published,
        "published_before_total": replayed.done_before,
        "in_lake_total": replayed.in_lake,
        "still_bad_total": left,
    }
    notes = tuple(f"{reason}: {count} still invalid" for reason, count in replayed.still_bad.most_common())
    return OperationResult(message=message, figures={name: float(value) for name, value in figures.items()}, notes=notes)


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else utc(epoch_ms)
