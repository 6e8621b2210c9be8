"""The operation `verify`: `cryptoviz.lake.verify` as a `cryptoviz.operations.Operation`."""

from __future__ import annotations

import asyncio

from cryptoviz.errors import TerminalError
from cryptoviz.lake.verify import Comparison, Report, verify
from cryptoviz.operations import OperationResult, Progress, VerifyArguments
from cryptoviz.operations import Report as ReportProgress
from cryptoviz.settings import Settings

__all__ = ["Verification", "result_of"]


class Verification:
    """Compares Kafka with the lake. It only reads, so that a cancelled or killed run leaves nothing."""

    def __init__(self, settings: Settings, operation_id: str, arguments: VerifyArguments) -> None:
        self._settings = settings
        del operation_id, arguments

    async def run(self, report: ReportProgress) -> OperationResult:
        report(Progress(done=0, unit="records", message="comparing Kafka with the lake"))
        return result_of(await asyncio.to_thread(verify, self._settings))


def result_of(report: Report) -> OperationResult:
    """Figures over all comparisons, and a note for each. Raises TerminalError if Kafka and the lake differ."""
    if not report.ok:
        raise TerminalError(f"Kafka and the lake differ: {'; '.join(_fault(one) for one in report.comparisons if not one.ok)}")
    by_topic = {one.topic: one.kafka_records for one in report.comparisons}  # the same for each reader
    figures = {"kafka_records_total": sum(by_topic.values()), "pending_total": report.pending, "comparisons_total": len(report.comparisons)}
    *notes, verdict = report.to_text().splitlines()
    return OperationResult(message=verdict, figures={name: float(value) for name, value in figures.items()}, notes=tuple(notes))


def _fault(one: Comparison) -> str:
    counts = f"lost {one.lost}, doubled {one.doubled}, unknown {one.unknown}, event ids repeated {one.repeated_events}"
    return f"{one.table} ({one.reader} reader): {counts} ({', '.join(one.samples) or 'no offset'})"
