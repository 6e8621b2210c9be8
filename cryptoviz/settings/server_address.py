"""The address of a server in its section: filled in for an embedded server, checked for an external one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

__all__ = ["fill_address", "with_password"]

_YES, _NO = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")


def with_password(url: str, password: str) -> str:
    """Add the password to the URL, unless it contains one."""
    parts = urlsplit(url.strip())
    if not password.strip() or parts.password is not None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username or ''}:{quote(password.strip(), safe='', errors='replace')}@{host}").geturl()


def fill_address(data: Any, section: str, key: str, template: str, default_port: int) -> Any:
    """The values of a section, with `embedded` and the address on loopback of an embedded server. Raises ValueError.

    Whether a given address is that of the embedded server is checked by `cryptoviz.settings.engines`, which knows where it listens.
    """
    if not isinstance(data, dict):
        return data
    filled = dict(data)
    given = filled.get(key)
    chosen = str(filled.get("embedded", "")).strip().lower()
    if not given or (isinstance(given, str) and not given.strip()):
        if chosen in _NO:
            embedded, address = f"CRYPTOVIZ_{section}__EMBEDDED", f"CRYPTOVIZ_{section}__{key.upper()}"
            raise ValueError(f"{embedded} is false, and {address} has no server: set {address}, or leave {embedded} unset")
        filled[key] = template.format(port=filled.get("port", default_port))
        if not chosen or chosen in _YES:
            filled["embedded"] = True
    elif chosen not in _YES:
        filled.setdefault("embedded", False)
    return filled
