"""Converts pydantic's validation errors to SettingsError: the setting, the value without secrets, and what is valid."""

from __future__ import annotations

import re
from dataclasses import fields as dataclass_fields
from typing import Any

from pydantic import BaseModel, ValidationError

from cryptoviz.assets import Asset
from cryptoviz.errors import SettingsError
from cryptoviz.masking import MASK, mask_url
from cryptoviz.nearest import did_you_mean
from cryptoviz.settings.names import PREFIX, unknown_name

__all__ = ["refusal", "shown"]

_SECRET_WORDS = ("secret", "password", "key", "token", "headers", "webhook")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_USERINFO = re.compile(r"^(?P<before>[^@]*?://)?.*@", re.DOTALL)
_SECTION_KINDS = ("model_type", "model_attributes_type", "dict_type")
_ASSETS = "extra_assets"


def refusal(tree: type[BaseModel], error: ValidationError, *, values: bool = True) -> SettingsError:
    """The first validation error. `values`: whether to show values that are not secret."""
    first = error.errors(include_url=False, include_context=False)[0]
    loc, given = first["loc"], first.get("input")
    said = first["msg"].removeprefix("Value error, ")
    if loc and loc[0] == _ASSETS and len(loc) > 1:
        return _of_asset(loc, first["type"], said, given if values else None)
    name = PREFIX + "__".join(str(part).upper() for part in loc)
    if first["type"] in _UNKNOWN:
        return unknown_name(tree, name)
    if isinstance(given, dict | BaseModel):
        # An error of a whole section: the text contains the settings.
        return SettingsError(said if PREFIX in said else f"{name}: {said}", setting=_named(said) or name)
    # Text with invisible characters may contain a secret, also in an address.
    hidden = not values or first["type"] in _SECTION_KINDS or any(word in name.lower() for word in _SECRET_WORDS) or "visible ASCII" in said
    return SettingsError(f"{name} is {'(hidden)' if hidden else shown(given)}: {said}", setting=name)


def shown(value: Any) -> str:
    """A value for a message, shortened and without the part before an `@`, which may contain a password."""
    text = mask_url(str(value)) if isinstance(value, str) else str(value)
    if "@" in text:
        text = _USERINFO.sub(lambda found: f"{found['before'] or ''}{MASK}@", text)
    text = text if len(text) <= 200 else f"{text[:200]}.."
    return repr(text) if isinstance(value, str) else text


def _named(text: str) -> str:
    found = re.search(rf"{PREFIX}\w+", text)
    return found[0] if found else ""


def _of_asset(loc: tuple[Any, ...], kind: str, said: str, given: Any) -> SettingsError:
    setting = f"{PREFIX}{_ASSETS.upper()}"
    place = f"{setting}, entry {int(loc[1]) + 1}" if isinstance(loc[1], int) else setting
    fields = tuple(one.name for one in dataclass_fields(Asset))
    field = ".".join(str(part) for part in loc[2:])
    if kind in _UNKNOWN:
        text = f"{place} has a field {field!r}, which is unknown{did_you_mean(field, fields)}: valid are {', '.join(fields)}"
    elif kind in ("missing", "missing_argument"):
        text = f"{place} lacks {field}: valid are entries with asset_id, symbol and name, and provider_ids"
    else:
        text = f"{place}: {field or 'it'} is {shown(given)}: {said}"
    return SettingsError(text, setting=setting)
