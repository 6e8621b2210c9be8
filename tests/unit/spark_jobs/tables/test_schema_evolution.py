"""Changes of columns that a table follows, and those that it refuses."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import Schema

from cryptoviz.errors import LakeError
from cryptoviz.lake.schema import DEAD_LETTERS, PRICES, RAW
from spark_jobs.tables.schema_evolution import plan_change

OLD = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("price", pa.float64()), pa.field("year", pa.int32())])


def plan(wants: pa.Schema) -> tuple[list[str], list[str]]:
    change = plan_change("prices", Schema.from_arrow(OLD), wants)
    return [field.name for field in change.added], list(change.relaxed)


@pytest.mark.parametrize("schema", [PRICES, RAW, DEAD_LETTERS])
def test_a_table_of_this_version_needs_nothing(schema: pa.Schema) -> None:
    assert not plan_change("any", Schema.from_arrow(schema), schema)


def test_what_is_followed() -> None:
    assert plan(OLD.append(pa.field("mood", pa.string()))) == (["mood"], [])
    assert plan(pa.schema([OLD.field("price"), OLD.field("year")])) == ([], ["id"])
    assert plan(OLD.set(0, pa.field("id", pa.string()))) == ([], ["id"])
    assert plan(OLD.set(1, pa.field("price", pa.float64(), nullable=False))) == ([], [])
    assert plan(pa.schema([OLD.field("year"), OLD.field("price"), OLD.field("id")])) == ([], [])  # the order does not matter


@pytest.mark.parametrize(
    ("wants", "column", "types"),
    [
        (OLD.set(1, pa.field("price", pa.float32())), "price", "type double in the table and float in"),
        (OLD.set(2, pa.field("year", pa.int64())), "year", "type integer in the table and long in"),
        (OLD.append(pa.field("mood", pa.string(), nullable=False)), "mood", ""),
    ],
)
def test_what_is_refused(wants: pa.Schema, column: str, types: str) -> None:
    with pytest.raises(LakeError, match="Nothing was changed") as error:
        plan(wants)
    assert (error.value.table, error.value.column) == ("prices", column)
    assert types in error.value.message
