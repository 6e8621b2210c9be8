"""The operation `replay_dead_letters`: `spark_jobs.dead_letters` behind the operations' contract."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from cryptoviz.operations import OperationResult, Progress, ReplayDeadLettersArguments, Report
from cryptoviz.settings import Settings
from spark_jobs.dead_letters import DeadLetterReplay, ReplayCounts

__all__ = ["ReplayDeadLetters"]


class ReplayDeadLetters:
    """A `cryptoviz.operations.Operation`. Ended early or killed, a second run goes on: what was published is in the ledger."""

    def __init__(self, settings: Settings, operation_id: str, arguments: ReplayDeadLettersArguments) -> None:
        """Only keeps them."""
        self._settings = settings
        self._arguments = arguments
        del operation_id

    async def run(self, report: Report) -> OperationResult:
        """See `cryptoviz.operations.Operation`."""
        asked = self._arguments
        replay = DeadLetterReplay(self._settings, asked.reasons, _moment(asked.start_ms), _moment(asked.end_ms))

        def tell(done: int, total: int) -> None:
            report(Progress(done=done, total=total, unit="dead letters"))

        work = asyncio.create_task(asyncio.to_thread(replay.run, tell))
        try:
            replayed = await asyncio.shield(work)
        except asyncio.CancelledError:
            replay.stop()
            await work  # the transaction under way is finished
            raise
        return result_of(replayed)


def result_of(replayed: ReplayCounts) -> OperationResult:
    """One line, figures, and a note for each reason that is left."""
    left = sum(replayed.still_bad.values())
    message = (
        f"{replayed.looked_at} looked at: {replayed.published} published again, {replayed.done_before} published before, "
        f"{replayed.in_lake} in the lake already, {left} still bad"
    )
    figures = {
        "looked_at_total": replayed.looked_at,
        "published_total": replayed.published,
        "published_before_total": replayed.done_before,
        "in_lake_total": replayed.in_lake,
        "still_bad_total": left,
    }
    notes = tuple(f"{reason}: {count} still bad" for reason, count in replayed.still_bad.most_common())
    return OperationResult(message=message, figures={name: float(value) for name, value in figures.items()}, notes=notes)


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)
