"""Who calls: the token of each call is looked up in the files of tokens, which are read again after each change."""

from __future__ import annotations

import hmac
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from cryptoviz.errors import SettingsError
from cryptoviz.local.private import read_token
from cryptoviz.log import get_logger
from cryptoviz.security.tokens import OWNER, Role, TokenFile, digest_of
from cryptoviz.settings import Settings

__all__ = ["CALLER", "Caller", "Callers"]

CALLER: ContextVar[str] = ContextVar("caller")
"""Name of the token of the current call, for the log."""

_State = tuple[int, int, int] | None
_log = get_logger("controller")


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid token."""

    name: str
    role: Role
    digest: str


class Callers:
    """The valid tokens: the owner's, with the role `operate`, and the named ones. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._owner_file = settings.token_file
        self._named = TokenFile(settings.home)
        self._read: tuple[_State, _State] | None = None
        self._owner: tuple[Caller, ...] = ()
        self._valid: tuple[Caller, ...] = ()

    def find(self, token: str) -> Caller | None:
        """The caller with this token. The time does not depend on how much of the token is right, nor on which token it is."""
        self.refresh()
        digest = digest_of(token)
        # Each is compared, without an early end.
        found = [caller for caller in self._valid if hmac.compare_digest(caller.digest, digest)]
        return found[0] if found else None

    def is_valid(self, caller: Caller) -> bool:
        """Whether the caller's token is still valid, as of the last `refresh`."""
        return caller in self._valid

    def refresh(self) -> None:
        """Read the files that have changed.

        An unreadable file of named tokens permits none of them. If the owner's token is unreadable, the previous one stays valid.
        """
        states = (_state(self._owner_file), _state(self._named.path))
        if states == self._read:
            return
        self._read = states
        try:
            self._owner = (Caller(OWNER, Role.OPERATE, digest_of(read_token(self._owner_file, "CRYPTOVIZ_HOME"))),)
        except (SettingsError, OSError) as error:
            _log.error("token_unreadable", name=OWNER, error=str(error))
        try:
            named = [Caller(one.name, one.role, one.sha256) for one in self._named.read()]
        except (SettingsError, OSError) as error:
            _log.error("tokens_unreadable", error=str(error))
            named = []
        self._valid = (*self._owner, *named)


def _state(path: Path) -> _State:
    """Changes when the file is replaced or written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
