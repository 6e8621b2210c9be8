"""What a browser of the page says over its WebSocket: it asks for its document, says that it is ready, and acts. Pure.

Bokeh's protocol lets a browser change any property of its document, add models to it, and replace it. The page never does.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_expected"]

_EVENT = {"kind", "msg_type", "msg_data"}


def is_expected(kind: str, content: Any) -> bool:
    """Whether the page's own script sends such a message; `content` is untrusted. Whether its model exists is not checked."""
    if kind == "PULL-DOC-REQ":
        return True
    if kind != "PATCH-DOC" or not isinstance(content, dict) or content.keys() != {"events"} or not isinstance(content["events"], list):
        return False
    return all(_is_event(each) for each in content["events"])


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict) or event.keys() != _EVENT or (event["kind"], event["msg_type"]) != ("MessageSent", "bokeh_event"):
        return False
    data = event["msg_data"]
    if not isinstance(data, dict) or data.keys() != {"type", "name", "values"} or data["type"] != "event":
        return False
    values = data["values"]
    if data["name"] == "document_ready":
        return bool(values == {"type": "map"})
    return data["name"] == "data_event" and _is_action(_entries(values))


def _is_action(entries: list[Any] | None) -> bool:
    """Of the channel's model: texts by name, and texts by name among them."""
    if entries is None or [name for name, _ in entries] != ["model", "data"]:
        return False
    model, data = entries[0][1], entries[1][1]
    if not isinstance(model, dict) or model.keys() != {"id"} or not isinstance(model["id"], str):
        return False
    said = _entries(data)
    return said is not None and all(isinstance(value, str) or _is_texts(value) for _, value in said)


def _is_texts(value: Any) -> bool:
    entries = _entries(value)
    return entries is not None and all(isinstance(text, str) for _, text in entries)


def _entries(value: Any) -> list[Any] | None:
    """The entries of a map; None for anything else. An empty map has none."""
    if not isinstance(value, dict) or value.get("type") != "map" or not value.keys() <= {"type", "entries"}:
        return None
    entries = value.get("entries", [])
    if not isinstance(entries, list) or not all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in entries):
        return None
    return entries
