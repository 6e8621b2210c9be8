"""Short summary of the lake's verification, for a table."""

from __future__ import annotations

from cryptoviz.lake.verify import verify
from cryptoviz.settings import Settings

__all__ = ["verdict"]


def verdict(settings: Settings) -> str:
    """Comparison of Kafka and the prices table by both readers, as in `cryptoviz verify`."""
    report = verify(settings)
    delta, plain = (next(one for one in report.comparisons if one.table == "prices" and one.reader == reader) for reader in ("delta", "plain"))
    faults = f"lost {delta.lost}/{plain.lost}, doubled {delta.doubled}/{plain.doubled}, unknown {delta.unknown}/{plain.unknown}"
    state = "OK" if report.ok else "FAULT"
    return f"{state}: {delta.kafka_records} in Kafka, {delta.rows}/{plain.rows} rows (Delta/plain), {faults}, pending {report.pending}"
