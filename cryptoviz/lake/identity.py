"""What identifies a record and its row: a field, or several columns where the field is a hash of them that the table does not store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.lake.schema import IDENTITY_COLUMNS

__all__ = ["identities", "identity_of", "last_part"]

_JOINT = "\0"
"""In no name and no id of a venue."""


def identities(rows: pa.Table | pa.RecordBatch, table: str) -> list[str]:
    """The identity of each row, unique within the table. `rows` have the columns `IDENTITY_COLUMNS` of it."""
    columns = [rows.column(name) for name in IDENTITY_COLUMNS[table]]
    found: list[str] = (columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, _JOINT)).to_pylist()
    return found


def identity_of(record: Mapping[str, Any], table: str) -> str:
    """The same of a record in Kafka."""
    return _JOINT.join(str(record.get(name)) for name in IDENTITY_COLUMNS[table])


def last_part(identity: str) -> str:
    """The value of the last of its columns."""
    return identity.rpartition(_JOINT)[2]
