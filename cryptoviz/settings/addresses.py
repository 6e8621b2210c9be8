"""Addresses as people write them: IPv6 with and without brackets. One form goes into the tree, the one that libraries take."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

__all__ = ["Address", "Host", "RayAddress", "Servers", "host_port", "is_loopback", "origin", "require_parts", "url_with_brackets"]

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_NUMBERS = re.compile(r"[0-9.]+")
_LONGEST_NAME = 253
_MAX_PORT = 65_535
_A_HOST = "valid is a name, or an IPv4 or IPv6 address, without a port"
_SERVERS = "valid is host:port, or several of them with commas between them"


def _host(text: str) -> str:
    """A host without brackets."""
    bare = text.strip()
    inner = bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare
    if ":" in inner:
        address = _ipv6(inner)
        if address is None:
            raise ValueError(_A_HOST)
        return address
    if inner != bare or not _is_host(bare):
        raise ValueError(_A_HOST)
    return bare


def _one_address(text: str) -> str:
    if text.rstrip(".") in ("0.0.0.0", "::"):  # noqa: S104 (refused)
        raise ValueError("it stands for every address: valid is the one by which other nodes reach this one")
    return text


def _is_host(text: str) -> bool:
    """Whether it is a name or an address; IPv6 without brackets."""
    if ":" in text:
        return _ipv6(text) is not None
    if _NUMBERS.fullmatch(text):
        # Digits and dots are no name: resolvers take them for an address.
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


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
    """Comma separated `host:port`; empty stays empty."""
    found = [_authority(part.strip()) for part in text.split(",") if part.strip()]
    if not all(_is_server(one) for one in found) or (text.strip() and not found):
        raise ValueError(_SERVERS)
    return ",".join(found)


def _is_server(text: str) -> bool:
    """Whether it is one `host:port`, with brackets around IPv6."""
    host, _, port = text.rpartition(":")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (":" in inner) != (inner != host) or not _is_host(inner):
        return False
    return port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= _MAX_PORT


def _ray_address(text: str) -> str:
    """`auto`, or one `host:port`; empty stays empty."""
    bare = _authority(text.strip())
    if bare and bare != "auto" and not _is_server(bare):
        raise ValueError("valid is auto on a node of the cluster, host:port of its head, or nothing for a cluster of our own")
    return bare


def origin(text: str) -> str:
    """`host` or `host:port`, with or without http:// or https://, as a browser's address line begins."""
    bare = text.strip()
    scheme, mark, rest = bare.rpartition("://")
    host, _, port = rest.rpartition(":") if re.fullmatch(r".+:[0-9]*", rest) and not rest.endswith("]") else (rest, "", "")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    numbered = not port or (len(port) <= 5 and 1 <= int(port) <= _MAX_PORT)
    known = not mark or scheme.lower() in ("http", "https")
    if not known or (":" in inner) != (inner != host) or not _is_host(inner) or not numbered or rest.endswith(":"):
        raise ValueError(f"{text!r} is none: valid are host:port or host, as a browser's address line begins; a wildcard, a path or a user is none")
    return bare


def require_parts(
    url: str, schemes: Collection[str], *, user: bool = False, path: bool = False, query: bool = False, example: str = "/path"
) -> SplitResult:
    """The parts of an address that may have no others than those named. Raises ValueError, with what is valid."""
    rest = f"://host:port{example if path else ''}"
    valid = f"valid is {' or '.join(f'{scheme}{rest}' for scheme in schemes)}"
    valid += ", with user:password@ before the host if it asks for them" if user else ""
    parts = urlsplit(url)
    try:
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError(f"its port is none; {valid}") from None
    if parts.scheme.lower() not in schemes:
        raise ValueError(f"{parts.scheme}:// is of no use here; {valid}")
    if not _is_host(host):
        raise ValueError(f"{'it names no host' if not host else 'its host is none'}; {valid}")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"its port is none; {valid}")
    if "@" in parts.netloc and not user:
        raise ValueError(f"it holds a user or password, which have settings of their own; {valid}")
    if parts.path not in ("", "/") and not path:
        raise ValueError(f"it holds a path; {valid}")
    if (parts.query or url.partition("#")[0].endswith("?")) and not query:
        raise ValueError(f"it holds a query; {valid}")
    if "#" in url:
        raise ValueError(f"it holds a fragment; {valid}")
    return parts


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
Address = Annotated[Host, AfterValidator(_one_address)]
"""A host that others can be told: no wildcard."""
Servers = Annotated[str, AfterValidator(_servers)]
"""Comma separated `host:port`."""
RayAddress = Annotated[str, AfterValidator(_ray_address)]
"""`auto`, `host:port`, or empty."""
