"""Checks requested columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cryptoviz.errors import QueryError, UnknownColumn

__all__ = ["check_columns"]


def check_columns(table: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """`wanted` as a list.

    Raises:
        UnknownColumn: a name is not in `known`.
        QueryError: `wanted` is empty.
    """
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UnknownColumn(f"{table} has no column {name!r}{meant}: valid are {', '.join(known)}", column=name, table=table, argument="columns")
    if not chosen:
        raise QueryError("columns is empty: name at least one column, or omit the argument for all", argument="columns")
    return chosen
