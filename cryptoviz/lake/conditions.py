"""Conditions on rows, as Arrow's expressions. None is no condition."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import pyarrow as pa
import pyarrow.dataset as ds

from cryptoviz.lake.schema import TIME

__all__ = ["Condition", "Names", "all_of", "in_range", "one_of"]

Condition: TypeAlias = ds.Expression | None
Names = str | Sequence[str] | None
"""One value, several, or None: all."""


def one_of(column: str, values: Names) -> Condition:
    """The column has one of the values."""
    if values is None:
        return None
    return ds.field(column).isin([values] if isinstance(values, str) else list(values))


def in_range(column: str, low: datetime | None, high: datetime | None) -> Condition:
    """The time is in `[low, high)`."""
    time = ds.field(column)
    return all_of(None if low is None else time >= pa.scalar(low, TIME), None if high is None else time < pa.scalar(high, TIME))


def all_of(*conditions: Condition) -> Condition:
    """Each of them."""
    found: Condition = None
    for condition in conditions:
        if condition is not None:
            found = condition if found is None else found & condition
    return found
