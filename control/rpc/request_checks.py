"""Validation of every request: valid timestamps, known enum values, short printable text, and no unknown fields in calls that change something.

Works on descriptors, so that new fields of the contract are validated too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

__all__ = ["MAX_ELEMENTS", "MAX_TEXT", "Violation", "violations"]

Violation = tuple[str, str]
"""Field path and description. Never contains received text, which may be long and goes into logs and terminals."""

MAX_TEXT = 256
"""Characters per text; the longest valid text is a reason of 200."""
MAX_ELEMENTS = 1_000
_MAX_TOLD = 8
_NANOS = range(1_000_000_000)
_TIMESTAMP_S = range(-62_135_596_800, 253_402_300_800)  # years 1 to 9999, as timestamp.proto says
_DURATION_S = range(-315_576_000_000, 315_576_000_001)  # as duration.proto says


def violations(message: Message, *, strict: bool) -> list[Violation]:
    """The first few violations; empty for a valid request.

    Args:
        message: the request.
        strict: unknown fields are violations too, since a request that is only partly understood must not change anything.
    """
    return list(islice(_of_message(message, "", strict), _MAX_TOLD))


def _of_message(message: Message, path: str, strict: bool) -> Iterator[Violation]:
    if strict and len(UnknownFieldSet(message)):
        yield path or "message", "has unknown fields"
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp":
        yield from _of_timestamp(message, path)
    elif kind == "google.protobuf.Duration":
        yield from _of_duration(message, path)
    else:
        for field, value in message.ListFields():
            yield from _of_field(field, value, f"{path}.{field.name}" if path else field.name, strict)


def _of_field(field: FieldDescriptor, value: Any, path: str, strict: bool) -> Iterator[Violation]:
    if not field.is_repeated:
        yield from _of_value(field, value, path, strict)
        return
    if len(value) > MAX_ELEMENTS:
        yield path, f"has {len(value)} elements; must be at most {MAX_ELEMENTS}"
        return
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        for key, one in value.items():
            yield from _of_value(key_field, key, path, strict)
            yield from _of_value(value_field, one, path, strict)
        return
    for one in value:
        yield from _of_value(field, one, path, strict)


def _of_value(field: FieldDescriptor, value: Any, path: str, strict: bool) -> Iterator[Violation]:
    if field.message_type is not None:
        yield from _of_message(value, path, strict)
    elif field.enum_type is not None:
        if value not in field.enum_type.values_by_number:
            yield path, f"is {value}, which is not a {field.enum_type.name}"
    elif field.type == FieldDescriptor.TYPE_STRING:
        if len(value) > MAX_TEXT:
            yield path, f"has {len(value)} characters; must be at most {MAX_TEXT}"
        elif not value.isprintable():
            yield path, "has unprintable characters"
    elif field.type == FieldDescriptor.TYPE_BYTES and len(value) > MAX_TEXT:
        yield path, f"has {len(value)} bytes; must be at most {MAX_TEXT}"


def _of_timestamp(message: Any, path: str) -> Iterator[Violation]:
    if message.seconds not in _TIMESTAMP_S or message.nanos not in _NANOS:
        yield path, "is not a valid timestamp: seconds must be in the years 1 to 9999, nanos in 0 to 999999999"


def _of_duration(message: Any, path: str) -> Iterator[Violation]:
    same_sign = not message.seconds or not message.nanos or (message.seconds < 0) == (message.nanos < 0)
    if message.seconds not in _DURATION_S or abs(message.nanos) not in _NANOS or not same_sign:
        yield path, "is not a valid duration: at most 10000 years, seconds and nanos with the same sign"
