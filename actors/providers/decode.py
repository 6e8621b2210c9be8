"""Strict JSON: what two readers could understand differently is refused, not guessed."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["decode_json"]


def decode_json(body: bytes) -> Any:
    """The value of a JSON document in UTF-8.

    orjson refuses NaN, Infinity, numbers past the double range, broken UTF-8, lone surrogates and nesting past 1024 levels; it keeps the last
    of two equal keys, so that repeated keys are looked for in a second pass.

    Raises:
        ValueError: not such a document, or an object repeats a key.
    """
    value = orjson.loads(body)
    try:
        json.loads(body, object_pairs_hook=_refuse_repeated_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"an object repeats the key {key[:60]!r}")
        seen.add(key)
