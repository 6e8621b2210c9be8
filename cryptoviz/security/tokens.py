"""Named tokens of the control service, with a role each: a file that commands edit and the service reads. Only hashes of the tokens are stored.

A token has 256 random bits, so that a fast hash without a salt suffices. The owner's own token is a file of its own (`Settings.token_file`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from cryptoviz.errors import SettingsError, UsageError
from cryptoviz.local.private import require_own_file, write_private

__all__ = ["MAX_TOKENS", "OWNER", "NamedToken", "Role", "TokenFile", "digest_of", "new_token"]

OWNER = "owner"
"""Name of the token in `Settings.token_file`; not a valid name of another token."""
MAX_TOKENS = 100
"""Bounds the comparisons of each call."""
_SETTING = "CRYPTOVIZ_HOME"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Role(StrEnum):
    """What a token permits. `operate` includes `read`."""

    READ = "read"
    OPERATE = "operate"

    def permits(self, needed: Role) -> bool:
        """Whether a caller with this role may call a method that needs `needed`."""
        return self is needed or self is Role.OPERATE


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A token as stored: `sha256` in hexadecimal, `created_ms` in UTC epoch milliseconds."""

    name: str
    role: Role
    sha256: str
    created_ms: int


def new_token() -> str:
    """A random token: 64 hex digits."""
    return secrets.token_hex(32)


def digest_of(token: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class TokenFile:
    """The file of the named tokens, mode 0600. Concurrent commands edit it one after another; each edit replaces it atomically."""

    def __init__(self, home: Path) -> None:
        self.path = home / "control" / "tokens.json"

    def read(self) -> tuple[NamedToken, ...]:
        """All named tokens, by name; none if the file is missing.

        Raises:
            SettingsError: the file is damaged, or others can access it.
        """
        try:
            require_own_file(self.path, _SETTING)
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        try:
            found = tuple(_parsed(one) for one in orjson.loads(content)["tokens"])
        except (ValueError, TypeError, KeyError):
            raise SettingsError(f"{self.path} is damaged: remove it, and add the tokens again", setting=_SETTING) from None
        return tuple(sorted(found, key=lambda one: one.name))

    def add(self, name: str, role: Role, now_ms: int) -> str:
        """Add a token and return it: it is stored nowhere. Raises SettingsError: the name is invalid or taken, or there are too many."""
        if name == OWNER or not _NAME.fullmatch(name):
            text = f"is {name[:64]!r}: valid are 1 to 32 of a-z, 0-9, `-`, `_`, `.`, beginning with a letter or digit, except {OWNER!r}"
            raise UsageError(f"NAME {text}", setting="NAME")
        token = new_token()

        def changed(tokens: tuple[NamedToken, ...]) -> tuple[NamedToken, ...]:
            if any(one.name == name for one in tokens):
                raise SettingsError(f"a token {name!r} exists: `cryptoviz tokens rotate {name}` replaces it", setting="NAME")
            if len(tokens) >= MAX_TOKENS:
                raise SettingsError(f"there are {MAX_TOKENS} tokens, the maximum: revoke one first", setting="NAME")
            return (*tokens, NamedToken(name, role, digest_of(token), now_ms))

        self._edit(changed)
        return token

    def rotate(self, name: str, now_ms: int) -> str:
        """Replace a token by a new one of the same name and role, and return it. Raises SettingsError for an unknown name."""
        token = new_token()

        def changed(tokens: tuple[NamedToken, ...]) -> tuple[NamedToken, ...]:
            _require(name, tokens)
            return tuple(replace(one, sha256=digest_of(token), created_ms=now_ms) if one.name == name else one for one in tokens)

        self._edit(changed)
        return token

    def revoke(self, name: str) -> None:
        """Remove a token. Raises SettingsError for an unknown name."""

        def changed(tokens: tuple[NamedToken, ...]) -> tuple[NamedToken, ...]:
            _require(name, tokens)
            return tuple(one for one in tokens if one.name != name)

        self._edit(changed)

    def _edit(self, change: Callable[[tuple[NamedToken, ...]], tuple[NamedToken, ...]]) -> None:
        with _locked(self.path.parent):
            tokens = change(self.read())
            write_private(self.path, orjson.dumps({"tokens": [asdict(one) for one in tokens]}, option=orjson.OPT_INDENT_2).decode(), durable=True)


def _require(name: str, tokens: tuple[NamedToken, ...]) -> None:
    if all(one.name != name for one in tokens):
        names = ", ".join(one.name for one in tokens) or "none"
        raise SettingsError(f"no token {name[:64]!r}; the named tokens are: {names}", setting="NAME")


def _parsed(one: dict[str, Any]) -> NamedToken:
    found = NamedToken(one["name"], Role(one["role"]), one["sha256"], int(one["created_ms"]))
    if not (_NAME.fullmatch(found.name) and _DIGEST.fullmatch(found.sha256)):
        raise ValueError("not a token")
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclude other commands. Locks the folder itself, because the file is replaced."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
