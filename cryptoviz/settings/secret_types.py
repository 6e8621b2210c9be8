"""Types of settings that are secret or may hold a secret: cleaned and checked where they are read, masked where they are shown."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr

from cryptoviz.masking import mask_url
from cryptoviz.settings.addresses import url_with_brackets

__all__ = ["AccessKey", "Secret", "SecretUrl", "Url", "secrets_in"]

_VISIBLE = re.compile(r"[\x21-\x7e]*")


class SecretUrl(str):
    """A URL whose user, password and key parameters do not show in `repr`; as a text it is whole."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_url(str(self)))


def _cut(value: Any) -> Any:
    # A line of a file with Windows' line ends, a value pasted with its blanks.
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().strip())
    return value.strip() if isinstance(value, str) else value


def _visible_secret(value: SecretStr) -> SecretStr:
    _require_visible(value.get_secret_value())
    return value


def _visible_text(value: str) -> str:
    _require_visible(value)
    return value


def _require_visible(text: str) -> None:
    if not _VISIBLE.fullmatch(text):
        place = next(index for index, character in enumerate(text) if not _VISIBLE.fullmatch(character))
        raise ValueError(f"character {place + 1} of {len(text)} is no visible ASCII character (white space at both ends is cut)")


Secret = Annotated[SecretStr, BeforeValidator(_cut), AfterValidator(_visible_secret)]
"""A key, password or token: visible ASCII, white space at its ends cut."""
AccessKey = Annotated[str, BeforeValidator(_cut), AfterValidator(_visible_text)]
"""The public half of a pair of keys: as a secret, but shown."""
Url = Annotated[str, BeforeValidator(_cut), AfterValidator(_visible_text), AfterValidator(url_with_brackets), AfterValidator(SecretUrl)]
"""An address that may hold a password. IPv6 with and without brackets."""


def secrets_in(value: Any) -> set[str]:
    """Every secret in a part of the tree: keys, passwords, and what stands for one inside URLs."""
    if isinstance(value, SecretStr):
        return {value.get_secret_value()} - {""}
    if isinstance(value, SecretUrl):
        return _url_secrets(value)
    if isinstance(value, BaseModel):
        return set().union(*(secrets_in(getattr(value, name)) for name in type(value).model_fields))
    if isinstance(value, dict):
        return set().union(*(secrets_in(each) for each in value.values()))
    return set()


def _url_secrets(url: str) -> set[str]:
    userinfo = urlsplit(url).netloc.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    # A user without a password is a token.
    return {unquote(password or user), password or user} - {""}
