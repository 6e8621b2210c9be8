"""The records of the topics and the columns of the tables are the same fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pyarrow as pa
import pytest

from cryptoviz.lake.schema import KAFKA_COLUMNS, PARTITION_BY, PRICES, RAW
from cryptoviz.records import RawExchange, UnifiedRecord


@pytest.mark.parametrize(("record", "schema"), [(UnifiedRecord, PRICES), (RawExchange, RAW)])
def test_a_table_has_the_fields_of_its_record_in_order(record: Any, schema: pa.Schema) -> None:
    added = {*(column.name for column in KAFKA_COLUMNS), *PARTITION_BY}
    assert [field.name for field in fields(record)] == [name for name in schema.names if name not in added]


@pytest.mark.parametrize(("record", "schema"), [(UnifiedRecord, PRICES), (RawExchange, RAW)])
def test_a_column_is_nullable_where_its_field_may_be_none(record: Any, schema: pa.Schema) -> None:
    for field in fields(record):
        assert schema.field(field.name).nullable == ("None" in str(field.type)) or field.name == "rate_limit_headers", field.name
