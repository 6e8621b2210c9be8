"""Forms of a result, apart from what writes them: the command line's help needs no Arrow."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format"]


class Format(StrEnum):
    """Forms of a result. `json` is one array of objects, `ndjson` one object a line."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
