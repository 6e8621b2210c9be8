"""What both kinds of reader find in a table that no broker stands behind."""

from __future__ import annotations

from cryptoviz.lake.verify import READERS, read_lake
from cryptoviz.settings import Settings

__all__ = ["row_check"]


def row_check(settings: Settings, expected: int) -> str:
    """Rows and distinct offsets, by the verifier's two readers; begins with OK when both are as many as were written."""
    said, fine = [], True
    for reader in READERS:
        seen = read_lake(settings, "prices", reader)
        fine = fine and seen.rows == seen.offsets.distinct == expected
        said.append(f"{seen.rows} rows, {seen.offsets.distinct} distinct offsets ({reader})")
    return f"{'OK' if fine else 'FAULT'}: {expected} written; {'; '.join(said)}"
