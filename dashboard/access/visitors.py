"""Who may see the page, and what for: the owner's own processes, and holders of a token of the control service.

Signing in with a token gives a cookie, which names the token and is signed with a key of the home and the token's hash. It ends with the token,
after a time, or when its holder signs out; the server stores nothing of it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address

from cryptoviz.addresses import is_loopback
from cryptoviz.clock import Clock
from cryptoviz.errors import SettingsError
from cryptoviz.local.private import ensure_token
from cryptoviz.log import get_logger
from cryptoviz.security.tokens import OWNER, Role, TokenFile, digest_of
from cryptoviz.settings import Settings

__all__ = ["CURRENT", "SIGNED_IN_S", "Visitor", "Visitors"]

SIGNED_IN_S = 7 * 86_400
"""Lifetime of a cookie, in seconds."""
_KEY_FILE = "dashboard.key"
_MAX_ENDED = 1024
_COOKIE = re.compile(r"([a-z0-9][a-z0-9_.-]{0,31}):([0-9]{1,15}):([0-9a-f]{64})")

log = get_logger("dashboard")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a request is from. `cookie` proves it; without one it is a process of the owner."""

    name: str
    role: Role
    cookie: str | None = None

    @property
    def operates(self) -> bool:
        """Whether it may change anything."""
        return self.role.permits(Role.OPERATE)


CURRENT: ContextVar[Visitor] = ContextVar("visitor", default=Visitor("nobody", Role.READ))  # noqa: B039 (immutable)
"""The visitor for whom a page is being built. Pages outside the server, as in tests of views, may read only."""


class Visitors:
    """Recognizes visitors. Thread-safe."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._tokens = TokenFile(settings.home)
        self._key_file = settings.home / "control" / _KEY_FILE
        self._lock = threading.Lock()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.cookie_name = f"cryptoviz-{settings.dashboard.port}"
        """Browsers send cookies to all ports of a host, so that two pipelines need two names."""

    @property
    def admits_owner(self) -> bool:
        """Whether processes of the owner need no token: only if no other machine reaches the page, also not through a proxy."""
        dashboard = self._settings.dashboard
        return is_loopback(dashboard.host) and all(_stays_here(each) for each in dashboard.allow_origins)

    def owner(self, peer_uid: int | None) -> Visitor | None:
        """The owner, if the process at the other end is the owner's."""
        return Visitor(OWNER, Role.OPERATE) if self.admits_owner and peer_uid == os.getuid() else None

    def by_cookie(self, cookie: str | None) -> Visitor | None:
        """The holder of a cookie that is still valid."""
        found = _COOKIE.fullmatch(cookie or "")
        if cookie is None or found is None:
            return None
        name, until_ms, signature = found[1], int(found[2]), found[3]
        credential = self._credentials().get(name)
        if (
            credential is None
            or until_ms <= self._clock.now_ms()
            or not hmac.compare_digest(signature, self._signature(name, until_ms, credential[0]))
        ):
            return None
        with self._lock:
            return None if cookie in self._ended else Visitor(name, credential[1], cookie)

    def sign_in(self, token: str) -> Visitor | None:
        """The holder of a token, with a new cookie; None for a wrong token."""
        given, found = digest_of(token), None
        for name, (digest, role) in self._credentials().items():  # all, so that the time does not depend on which
            if hmac.compare_digest(given, digest):
                found = (name, digest, role)
        if found is None:
            return None
        until_ms = self._clock.now_ms() + SIGNED_IN_S * 1000
        return Visitor(found[0], found[2], f"{found[0]}:{until_ms}:{self._signature(found[0], until_ms, found[1])}")

    def sign_out(self, visitor: Visitor) -> None:
        """End the visitor's cookie."""
        if visitor.cookie is None:
            return
        with self._lock:
            self._ended[visitor.cookie] = None
            while len(self._ended) > _MAX_ENDED:
                self._ended.popitem(last=False)

    def still(self, visitor: Visitor) -> bool:
        """Whether the visitor would still be admitted with the same role."""
        return visitor.cookie is None or self.by_cookie(visitor.cookie) == visitor

    def _credentials(self) -> dict[str, tuple[str, Role]]:
        """Hash and role of each token, by name."""
        found: dict[str, tuple[str, Role]] = {}
        try:
            found = {one.name: (one.sha256, one.role) for one in self._tokens.read()}
        except SettingsError as error:
            log.warning("tokens_unreadable", reason=str(error))
        try:
            owners = self._settings.token_file.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            owners = ""
        return found | ({OWNER: (digest_of(owners), Role.OPERATE)} if owners else {})

    def _signature(self, name: str, until_ms: int, digest: str) -> str:
        key = ensure_token(self._key_file, "CRYPTOVIZ_HOME")
        return hmac.new(key.encode(), f"{name}:{until_ms}:{digest}".encode(), hashlib.sha256).hexdigest()


def _stays_here(origin: str) -> bool:
    host = origin.rpartition("://")[2]
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"
