"""Schema evolution: how a newer or older version of the code uses a table with other columns."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from deltalake import Field, Schema

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.schema import file_schema

__all__ = ["SchemaChange", "plan_change", "stored_schema"]


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """Columns to add to the table, and required columns that become nullable."""

    added: tuple[Field, ...] = ()
    relaxed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.relaxed)


def plan_change(table: str, has: Schema, wants: pa.Schema) -> SchemaChange:
    """Changes of the table's columns that this code requires before it writes. Columns that only the table has stay readable. Pure.

    Raises:
        LakeError: a column has another type, or a new column is required although old rows have no value; the message gives the remedy.
    """
    there = {field.name: field for field in has.fields}
    wanted = {field.name: field for field in Schema.from_arrow(wants).fields}
    added: list[Field] = []
    for name, field in wanted.items():
        old = there.get(name)
        if old is None:
            if not field.nullable:
                raise LakeError(
                    f"table {table}: column {name} is new and required, but existing rows have no value. Nothing was changed. "
                    "Make the column nullable.",
                    table=table,
                    column=name,
                )
            added.append(field)
        elif old.type != field.type:
            raise LakeError(
                f"table {table}: column {name} has type {_name(old)} in the table and {_name(field)} in this version of the code. Nothing was "
                f"changed. Rename the column with the new type, or start a new table in another bucket ({_SETTINGS[table == 'prices']}).",
                table=table,
                column=name,
            )
    relaxed = tuple(name for name, old in there.items() if not old.nullable and (name not in wanted or wanted[name].nullable))
    return SchemaChange(tuple(added), relaxed)


def stored_schema(table: DeltaTable, code: pa.Schema) -> pa.Schema:
    """Columns of the table's data files: the code's, then those that only the table has; nullable as in the table.

    Used to rewrite files, so that no column of another version is lost.
    """
    there = file_schema(pa.schema(table.schema().to_arrow()))
    own = [column.with_nullable(there.field(column.name).nullable) if column.name in there.names else column for column in code]
    return pa.schema([*own, *(column for column in there if column.name not in code.names)])


_SETTINGS = {True: "CRYPTOVIZ_S3__PRICES_BUCKET", False: "CRYPTOVIZ_S3__LAKE_BUCKET"}


def _name(field: Field) -> str:
    """Delta's name of the type."""
    return str(getattr(field.type, "type", field.type))
