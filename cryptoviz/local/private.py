"""Files and directories that only their owner may access."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from cryptoviz.errors import SettingsError
from cryptoviz.local.ownership import make_private

__all__ = ["OTHERS", "claim_folder", "ensure_token", "read_token", "require_own_file", "write_once", "write_private"]

OTHERS = 0o077
"""All permissions of the group and of others."""
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_TOKEN_BYTES = 32
"""256 bits, infeasible to guess."""
_TOKEN = re.compile(r"[0-9a-f]{64}|[A-Za-z0-9_-]{43}")
"""In hexadecimal; earlier versions wrote the same number of bytes in URL-safe Base64."""


def claim_folder(path: Path, setting: str) -> None:
    """Create the directory, or take over an existing one of this user, and remove the access of others.

    Raises:
        SettingsError: it belongs to another user, is no directory, or cannot be created.
    """
    try:
        make_private(path)
        found = path.stat()
        if found.st_uid != os.getuid():
            raise SettingsError(f"{setting} is {str(path)!r}, which belongs to user {found.st_uid}: choose a folder of your own", setting=setting)
        if stat.S_IMODE(found.st_mode) & OTHERS:
            path.chmod(_FOLDER_MODE)
    except OSError as error:
        raise SettingsError(f"{setting} is {str(path)!r}, which cannot be used: {error.strerror}", setting=setting) from error


def require_own_file(path: Path, setting: str) -> None:
    """Raise SettingsError unless the existing file is a regular file, owned by this user, and inaccessible to others."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{path} is not a regular file: remove it", setting=setting)
    if found.st_uid != os.getuid():
        raise SettingsError(f"{path} belongs to user {found.st_uid}: remove it, or choose another {setting}", setting=setting)
    if found.st_mode & OTHERS:
        raise SettingsError(
            f"others may read {path}: chmod 600 it, or remove it while the pipeline is stopped, and new secrets are generated", setting=setting
        )


def ensure_token(path: Path, setting: str, end: str = "\n") -> str:
    """The token in the file: 64 hex digits and `end`, generated if the file is missing. Concurrent starts get the same token.

    Raises as `read_token` does.
    """
    if not os.path.lexists(path):
        write_once(path, secrets.token_hex(_TOKEN_BYTES) + end)
    return read_token(path, setting)


def read_token(path: Path, setting: str) -> str:
    """The token in an existing file.

    Raises:
        SettingsError: others can access the file, or it does not contain a token of the format of `ensure_token`.
    """
    require_own_file(path, setting)
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        state = "does not contain a token of 64 hex digits" if token else "is empty"
        raise SettingsError(f"{path} {state}: remove it while the pipeline is stopped, and a new one is generated", setting=setting)
    return token


def write_private(path: Path, text: str, *, durable: bool = False) -> None:
    """Write `text` to the file atomically, accessible only to its owner. `durable`: it is on the disk when the call returns."""
    scratch = _scratch(path, text, durable=durable)
    try:
        scratch.replace(path)
    except OSError:
        scratch.unlink()
        raise


def write_once(path: Path, text: str) -> None:
    """As `write_private`, but never replaces an existing file: of concurrent writers one wins."""
    scratch = _scratch(path, text)
    try:
        # A hard link is atomic and never replaces an existing file.
        os.link(scratch, path)
    except FileExistsError:
        return
    finally:
        scratch.unlink()


def _scratch(path: Path, text: str, *, durable: bool = False) -> Path:
    make_private(path.parent)
    scratch = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except (OSError, ValueError):  # a full disk; a text that is no UTF-8
        scratch.unlink()
        raise
    return scratch
