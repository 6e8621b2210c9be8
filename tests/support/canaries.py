"""Secrets planted by a test, and the search for them in every output."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, SecretStr

from cryptoviz.settings.secret_types import SecretUrl

__all__ = ["Look", "forms", "places_of", "secret_fields"]

_PART = 12
"""So much of a secret's beginning or end is a leak, as where a text was cut."""


def secret_fields(kind: Any, path: str = "") -> Iterator[str]:
    """Dotted path of each settings field whose type is a secret, or an address that may contain a secret."""
    if kind is SecretStr or getattr(kind, "func", None) is SecretUrl:
        yield path
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        hints = get_type_hints(kind, include_extras=True)
        for name in kind.model_fields:
            yield from secret_fields(hints[name], f"{path}.{name}".lstrip("."))
    else:
        for inner in get_args(kind):
            yield from secret_fields(inner, path)


def places_of(secrets: Iterable[str], tree: Any, path: str = "") -> Iterator[str]:
    """Dotted path, as in `secret_fields`, of each field that contains one of the secrets."""
    if isinstance(tree, BaseModel):
        for name in type(tree).model_fields:
            yield from places_of(secrets, getattr(tree, name), f"{path}.{name}".lstrip("."))
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from places_of(secrets, each, path)
    elif isinstance(tree, (SecretStr, str)):
        text = tree if isinstance(tree, str) else tree.get_secret_value()
        if any(form in text.encode() for secret in secrets for form in (secret.encode(), quote(secret, safe="").encode())):
            yield path


def forms(secret: str) -> set[bytes]:
    """Forms in which libraries show the beginning and the end of a text."""
    found: set[str] = set()
    for part in {secret[:_PART], secret[-_PART:]}:
        found |= {part, repr(part)[1:-1], json.dumps(part)[1:-1], quote(part), quote(part, safe=""), html.escape(part), part.encode().hex()}
        # At each alignment within three bytes, without the digits shared with neighbours.
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + part.encode()).decode()[(0, 2, 3)[before] :].rstrip("=")
            found.add(coded[:-1])
    return {form.encode() for form in found}


class Look:
    """Searches outputs for texts, in any form that a library may use, and records the places.

    Attributes:
        found: names of the texts by (kind of output, place).
        outputs: number of searched outputs by kind.
        size: total bytes.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._forms = {name: forms(text) for name, text in texts.items()}
        self.found: dict[tuple[str, str], set[str]] = {}
        self.outputs: Counter[str] = Counter()
        self.size = 0

    def at(self, kind: str, outputs: Iterable[tuple[str, str | bytes]]) -> None:
        """Search all outputs: pairs of place and content."""
        for place, text in outputs:
            self.outputs[kind] += 1
            for raw in _readable(text.encode() if isinstance(text, str) else text):
                self.size += len(raw)
                if names := {name for name, each in self._forms.items() if any(form in raw for form in each)}:
                    self.found.setdefault((kind, place), set()).update(names)

    def kinds_with(self, names: Iterable[str]) -> set[str]:
        """Kinds of output in which any of these texts was found."""
        return {kind for (kind, _), found in self.found.items() if found & set(names)}


def _readable(raw: bytes) -> Iterator[bytes]:
    """The bytes as they are, without the preallocated end of a broker's file, and decompressed."""
    yield raw.rstrip(b"\0")
    if raw.startswith(b"\x1f\x8b"):
        yield gzip.decompress(raw)
    elif raw.startswith(b"PAR1"):
        table = pq.read_table(pa.BufferReader(raw)) if raw.endswith(b"PAR1") else pa.table({})
        text = BytesIO()
        for row in table.to_pylist():
            text.write(repr(row).encode())
            text.write("\n".join(value for value in row.values() if isinstance(value, str)).encode())
        yield text.getvalue()
