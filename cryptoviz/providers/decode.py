"""Strict JSON: documents that two parsers could read differently are refused."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["decode_json"]

MAX_DECODED_BYTES = 32 * 1024 * 1024
"""Approximate limit of the memory of a body's values: 8 MB of `{},` would take 200 MB. A list of 5 000 coins takes half of it."""
OBJECT_BYTES, ARRAY_BYTES, VALUE_BYTES = 240, 60, 110
"""Sizes of a small dict, an empty list, and a member or element with its slot."""


def decode_json(body: bytes) -> Any:
    """The value of a JSON document in UTF-8.

    orjson refuses NaN, Infinity, numbers past the double range, broken UTF-8, lone surrogates and nesting past 1024 levels; it keeps the
    last of two equal keys, so a second pass finds repeated keys.

    Raises:
        ValueError: not such a document, an object repeats a key, or its values would take too much memory.
    """
    if OBJECT_BYTES * body.count(b"{") + ARRAY_BYTES * body.count(b"[") + VALUE_BYTES * body.count(b",") > MAX_DECODED_BYTES:
        raise ValueError(f"its values would take more than {MAX_DECODED_BYTES} bytes of memory")
    value = orjson.loads(body)
    if not _keeps_every_colon(body, value):
        _look_for_repeated_keys(body)
    return value


def _keeps_every_colon(body: bytes, value: Any) -> bool:
    """True if no member was dropped, since a dropped member's colon would be missing. False requires a full check.

    Four times as fast as the full check. An escaped colon is written back as a colon; text that contains colons leads to a full check.
    """
    colons = body.count(b":") + body.count(b"\\u003a") + body.count(b"\\u003A")
    try:
        return colons == orjson.dumps(value).count(b":")
    except orjson.JSONEncodeError:
        # orjson reads 1024 levels and writes 254.
        return False


def _look_for_repeated_keys(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_refuse_repeated_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"an object repeats the key {key[:60]!r}")
        seen.add(key)
