"""Reader for the table of the gap ledger (see `cryptoviz.gaps`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, cast

import pyarrow as pa

from cryptoviz.gaps import Gap
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, read_newest
from cryptoviz.lake.objects import TableAddress, table_address
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.settings import Settings

__all__ = ["gaps_address", "read_gaps"]


def gaps_address(settings: Settings) -> TableAddress:
    """Location of the gap ledger."""
    return table_address(settings.s3, "gaps")


def read_gaps(settings: Settings, days: Iterable[date] | None = None) -> list[Gap]:
    """Gaps of the ledger, of all or some UTC days, ordered by first tick and subject; empty before the first round of maintenance.

    Raises:
        EngineUnavailable: the object store does not answer, or maintenance replaced files during every try.
    """
    address = gaps_address(settings)
    chosen = None if days is None else [f"{one.year}-{one.month}-{one.day}" for one in days]
    with store_errors(address.endpoint, f"return {address.uri}", TABLE_ERRORS):
        rows = read_newest(address.uri, settings.s3.storage_options(), _rows) or []
    found = [Gap.from_row(row) for row in rows if chosen is None or f"{row['year']}-{row['month']}-{row['day']}" in chosen]
    return sorted(found, key=lambda gap: (gap.from_ms, gap.scope, gap.subject))


def _rows(table: DeltaTable) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", pa.table(table.to_pyarrow_table()).to_pylist())
