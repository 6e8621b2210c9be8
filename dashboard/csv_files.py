"""CSV files that a spreadsheet opens without running what a provider wrote in them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

__all__ = ["csv_file"]

# With the wide forms, which East Asian versions of spreadsheets take too.
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def csv_file(rows: pa.Table) -> bytes:
    """The rows with a header line, UTF-8. A text that a spreadsheet would take for a formula gets a single quote before it.

    Numbers stay as they are, also those written as text. The rule is OWASP's: https://owasp.org/www-community/attacks/CSV_Injection
    """
    sink = io.BytesIO()
    columns = [_harmless(column) if _is_text(column.type) else column for column in rows.columns]
    names = _harmless(pa.chunked_array([pa.array(rows.column_names, pa.string())])).to_pylist()
    pa_csv.write_csv(pa.table(columns, names=names), sink)
    return sink.getvalue()


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = column.cast(pa.large_string())
    formula = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
    return pc.if_else(formula, pc.replace_substring_regex(texts, "^", "'", max_replacements=1), texts)
