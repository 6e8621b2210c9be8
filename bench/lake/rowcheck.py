"""Checks a table without Kafka with both kinds of reader."""

from __future__ import annotations

from cryptoviz.lake.verify import READERS, read_lake
from cryptoviz.settings import Settings

__all__ = ["row_check"]


def row_check(settings: Settings, expected: int) -> str:
    """Rows and distinct offsets, by the verifier's two readers; begins with OK if both match the number written."""
    said, fine = [], True
    for reader in READERS:
        seen = read_lake(settings, "prices", reader)
        fine = fine and seen.rows == seen.offsets.distinct == expected
        said.append(f"{seen.rows} rows, {seen.offsets.distinct} distinct offsets ({reader})")
    return f"{'OK' if fine else 'FAULT'}: {expected} written; {'; '.join(said)}"
