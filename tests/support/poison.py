"""A corpus of invalid record values for all tests of the lake: a valid record with one fault each, and the expected reason."""

from __future__ import annotations

import json
from typing import Any

from spark_jobs.tables.record_spec import Reason
from tests.support.records import DAY_MS, TICK, record

GOOD = record(TICK).to_json()
_FIELDS: dict[str, Any] = json.loads(GOOD)
STAMP = TICK + 300  # Kafka timestamp of each record


def _with(**changes: Any) -> bytes:
    return json.dumps(_FIELDS | changes).encode() + b"\n"


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in _FIELDS.items() if key != name}).encode() + b"\n"


def _literal(name: str, literal: bytes) -> bytes:
    """The valid record with another literal for a field, which json.dumps would not write."""
    marker = b'"<here>"'
    return _with(**{name: "<here>"}).replace(marker, literal)


POISON: dict[str, tuple[bytes | None, Reason]] = {
    "tombstone": (None, Reason.TOMBSTONE),
    "empty": (b"", Reason.NOT_JSON),
    "newline": (b"\n", Reason.NOT_JSON),
    "blanks": (b"   \n", Reason.NOT_JSON),
    "garbage": (b"\x00\xff\xfe\x01 not json", Reason.NOT_JSON),
    "html": (b"<html><body>429</body></html>\n", Reason.NOT_JSON),
    "truncated": (GOOD[:100], Reason.NOT_JSON),
    "truncated with newline": (GOOD[:100] + b"\n", Reason.NOT_JSON),
    "two objects on one line": (GOOD.strip() + GOOD, Reason.NOT_JSON),
    "two objects on two lines": (GOOD + GOOD, Reason.NOT_JSON),
    "object and null": (GOOD.strip() + b"null}\n", Reason.NOT_JSON),
    "trailing brace": (GOOD.strip() + b"}\n", Reason.NOT_JSON),
    "bare null": (b"null\n", Reason.NOT_OBJECT),
    "number": (b"1\n", Reason.NOT_OBJECT),
    "string": (b'"x"\n', Reason.NOT_OBJECT),
    "array": (b"[" + GOOD.strip() + b"]\n", Reason.NOT_OBJECT),
    "empty object": (b"{}\n", Reason.MISSING_FIELD),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON),
    "invalid utf-8": (GOOD.replace(b"Bitcoin", b"Bit\xffoin"), Reason.NOT_JSON),
    "lone surrogate": (GOOD.replace(b"Bitcoin", b"\\ud800"), Reason.NOT_JSON),
    "control character": (GOOD.replace(b"Bitcoin", b"Bit\x01oin"), Reason.NOT_JSON),
    "duplicate key": (GOOD.replace(b'"rank":1', b'"rank":1,"rank":2'), Reason.DUPLICATE_KEY),
    "nested too deeply": (_literal("source_ts", b'{"a":' * 1010 + b"1" + b"}" * 1010), Reason.TOO_LARGE),
    "unknown version": (_with(schema_version=2), Reason.UNKNOWN_VERSION),
    "version as text": (_with(schema_version="1"), Reason.WRONG_TYPE),
    "version as double": (_literal("schema_version", b"1.0"), Reason.WRONG_TYPE),
    "no version": (_without("schema_version"), Reason.MISSING_FIELD),
    "no price": (_without("price"), Reason.MISSING_FIELD),
    "null price": (_with(price=None), Reason.MISSING_FIELD),
    "no event_id": (_without("event_id"), Reason.MISSING_FIELD),
    "price as text": (_with(price="37000.5"), Reason.WRONG_TYPE),
    "price as bool": (_with(price=True), Reason.WRONG_TYPE),
    "price as list": (_with(price=[37000.5]), Reason.WRONG_TYPE),
    "price as object": (_with(price={"usd": 37000.5}), Reason.WRONG_TYPE),
    "price zero": (_with(price=0), Reason.BAD_PRICE),
    "price minus zero": (_literal("price", b"-0.0"), Reason.BAD_PRICE),
    "price negative": (_with(price=-1.5), Reason.BAD_PRICE),
    "price NaN": (_literal("price", b"NaN"), Reason.NOT_JSON),
    "price Infinity": (_literal("price", b"Infinity"), Reason.NOT_JSON),
    "price past double": (_literal("price", b"1e999"), Reason.NOT_JSON),
    "market cap -Infinity": (_literal("market_cap", b"-Infinity"), Reason.NOT_JSON),
    "leading zero": (_literal("price", b"037000"), Reason.NOT_JSON),
    "rank fraction": (_literal("rank", b"1.5"), Reason.WRONG_TYPE),
    "rank past int32": (_with(rank=2**31), Reason.WRONG_TYPE),
    "attempt exponent": (_literal("attempt", b"1e0"), Reason.WRONG_TYPE),
    "name number": (_with(name=1), Reason.WRONG_TYPE),
    "disagrees as number": (_with(disagrees=0), Reason.WRONG_TYPE),
    "tick as text": (_with(tick_ts=str(TICK)), Reason.WRONG_TYPE),
    "tick in seconds": (_with(tick_ts=TICK // 1000), Reason.BAD_TIME),
    "tick in microseconds": (_with(tick_ts=TICK * 1000), Reason.WRONG_TYPE),
    "tick from the future": (_with(tick_ts=STAMP + DAY_MS + 1), Reason.BAD_TIME),
    "tick before Bitcoin": (_with(tick_ts=1_230_767_999_999), Reason.BAD_TIME),
    "tick negative": (_with(tick_ts=-1), Reason.BAD_TIME),
    "ingest past year 9999": (_with(ingest_ts=253_402_300_800_000), Reason.WRONG_TYPE),
    "source past int64": (_with(source_ts=2**70), Reason.WRONG_TYPE),
    "NaN in an unknown field": (_with(added_later=float("nan")), Reason.NOT_JSON),
    "-Infinity in an unknown list": (_with(added_later=[1.5, -float("inf")]), Reason.NOT_JSON),
    "unknown number past double": (_literal("added_later", b"1.7976931348623159e308"), Reason.NOT_JSON),
    "too large": (_with(name="x" * 3000), Reason.TOO_LARGE),
}

ACCEPTED: dict[str, bytes] = {
    "as published": GOOD,
    "without newline": GOOD.strip(),
    "pretty printed": json.dumps(_FIELDS, indent=2).encode(),
    "unknown field": _with(added_later=1),
    "unknown field twice": GOOD.replace(b'"rank":1', b'"rank":1,"x":1,"x":2'),
    "unknown object": _with(added_later={"a": [1, None, {}]}),
    "braces in a text": _with(name="{Bitcoin}"),
    "newline escaped in a text": _with(name="Bit\ncoin"),
    "escapes": _with(name='"\\\u00fc\U0001f680\u0000'),
    "integer price": _with(price=37000),
    "tiny price": _literal("price", b"1e-18"),
    "huge price": _literal("price", b"1e300"),
    "seventeen digits": _literal("price", b"0.30000000000000004"),
    "optional missing": _without("market_cap"),
    "optional null": _with(market_cap=None, rank=None, source_ts=None),
    "a day late": _with(tick_ts=TICK - DAY_MS),
    "a year late": _with(tick_ts=TICK - 365 * DAY_MS),
    "an hour early": _with(tick_ts=TICK + 3_600_000),
    "keys in another order": json.dumps(dict(reversed(_FIELDS.items()))).encode() + b"\n",
    "blanks around": b"  " + GOOD,
}
