"""Addresses as people write them: IPv6 with and without brackets. One form goes into the tree, the one that libraries take."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

__all__ = ["Host", "Servers", "host_port", "is_loopback", "url_with_brackets"]


def _host(text: str) -> str:
    """A host without brackets."""
    bare = text.strip()
    inner = bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare
    if ":" not in inner:
        if inner != bare or any(letter in bare for letter in "[]/@ \t"):
            raise ValueError("valid is a name, or an IPv4 or IPv6 address, without a port")
        return bare
    address = _ipv6(inner)
    if address is None:
        raise ValueError("valid is a name, or an IPv4 or IPv6 address, without a port")
    return address


def _authority(text: str) -> str:
    """`host`, `host:port`, `[v6]`, `[v6]:port`, `v6` or `v6:port`, with brackets around IPv6. Others are left as they are."""
    if text.startswith("[") or text.count(":") < 2:
        return text
    head, _, port = text.rpartition(":")
    address = _ipv6(head)
    # A port behind an address wins over its last group: where a setting names a server, it names its port.
    if address is not None and port.isascii() and port.isdigit():
        return f"[{address}]:{port}"
    whole = _ipv6(text)
    return text if whole is None else f"[{whole}]"


def _servers(text: str) -> str:
    """Comma separated `host:port`."""
    return ",".join(_authority(part.strip()) for part in text.split(",") if part.strip())


def url_with_brackets(text: str) -> str:
    """`scheme://host:port/path`, with brackets around IPv6; empty stays empty. Raises ValueError for what is no address."""
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        if not scheme:
            return ""
        raise ValueError("valid is an address with its scheme, such as http://host:port")
    end = next((place for place, letter in enumerate(rest) if letter in "/?#"), len(rest))
    user, at, server = rest[:end].rpartition("@")
    url = f"{scheme}://{user}{at}{_authority(server)}{rest[end:]}"
    try:
        urlsplit(url)
    except ValueError as error:
        raise ValueError(f"valid is an address such as http://host:port ({error})") from None
    return url


def _ipv6(text: str) -> str | None:
    address, percent, zone = text.partition("%")
    try:
        return f"{ipaddress.IPv6Address(address).compressed}{percent}{zone}"
    except ValueError:
        return None


def host_port(host: str, port: int) -> str:
    """`host:port` as clients dial it and addresses hold it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Host = Annotated[str, AfterValidator(_host)]
"""A host alone, without brackets."""
Servers = Annotated[str, AfterValidator(_servers)]
"""Comma separated `host:port`."""
