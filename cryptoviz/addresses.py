"""Validation and normalization of addresses. IPv6 is accepted with and without brackets and normalized to the form that libraries accept."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

__all__ = [
    "LOOPBACK", "Address", "Host", "RayAddress", "Servers", "host_port", "is_loopback", "is_wildcard", "origin", "require_parts", "require_visible",
    "url_with_brackets",
]  # fmt: skip

LOOPBACK = "127.0.0.1"

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_NUMBERS = re.compile(r"[0-9.]+")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_LONGEST_NAME = 253
_MAX_PORT = 65_535
_A_HOST = "valid is a name, or an IPv4 or IPv6 address, without a port"
_SERVERS = "valid is host:port, or several of them with commas between them"


def _host(text: str) -> str:
    """Validate a host and remove its brackets."""
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
    if is_wildcard(text.rstrip(".")):
        raise ValueError("it is a wildcard: valid is the address by which other nodes reach this one")
    return text


def _is_host(text: str) -> bool:
    """Whether the text is a host name or an IP address (IPv6 without brackets)."""
    if ":" in text:
        return _ipv6(text) is not None
    if _NUMBERS.fullmatch(text):
        # Resolvers treat digits and dots as an address, never as a name.
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


def _authority(text: str) -> str:
    """`host`, `host:port`, `[v6]`, `[v6]:port`, `v6` or `v6:port`, with brackets added around IPv6. Other texts are returned unchanged."""
    if text.startswith("[") or text.count(":") < 2:
        return text
    head, _, port = text.rpartition(":")
    address = _ipv6(head)
    # The last group is read as a port if the rest is an address, because a server setting contains a port.
    if address is not None and port.isascii() and port.isdigit():
        return f"[{address}]:{port}"
    whole = _ipv6(text)
    return text if whole is None else f"[{whole}]"


def _servers(text: str) -> str:
    """Normalize comma-separated `host:port`; an empty text is allowed."""
    found = [_authority(part.strip()) for part in text.split(",") if part.strip()]
    if not all(_is_server(one) for one in found) or (text.strip() and not found):
        raise ValueError(_SERVERS)
    return ",".join(found)


def _is_server(text: str) -> bool:
    """Whether the text is `host:port`, with brackets around IPv6."""
    host, _, port = text.rpartition(":")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (":" in inner) != (inner != host) or not _is_host(inner):
        return False
    return port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= _MAX_PORT


def _ray_address(text: str) -> str:
    """Validate `auto` or `host:port`; an empty text is allowed."""
    bare = _authority(text.strip())
    if bare and bare != "auto" and not _is_server(bare):
        raise ValueError("valid is auto on a node of the cluster, host:port of its head, or empty to start a new cluster")
    return bare


def origin(text: str) -> str:
    """Validate a browser origin: `host` or `host:port`, optionally with http:// or https://."""
    bare = text.strip()
    scheme, mark, rest = bare.rpartition("://")
    host, _, port = rest.rpartition(":") if re.fullmatch(r".+:[0-9]*", rest) and not rest.endswith("]") else (rest, "", "")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    numbered = not port or (len(port) <= 5 and 1 <= int(port) <= _MAX_PORT)
    known = not mark or scheme.lower() in ("http", "https")
    if not known or (":" in inner) != (inner != host) or not _is_host(inner) or not numbered or rest.endswith(":"):
        raise ValueError(f"{text!r} is not valid: use host:port or host, without wildcard, path or user")
    return bare


def require_visible(text: str, note: str = "") -> None:
    """Raises ValueError, with the note and without the text, if it contains anything but visible ASCII."""
    if not _VISIBLE.fullmatch(text):
        place = next(index for index, character in enumerate(text) if not _VISIBLE.fullmatch(character))
        raise ValueError(f"character {place + 1} of {len(text)} is not a visible ASCII character{note}")


def require_parts(
    url: str, schemes: Collection[str], *, user: bool = False, path: bool = False, query: bool = False, example: str = "/path"
) -> SplitResult:
    """Split a URL that may contain only the selected parts. Raises ValueError with the valid form."""
    rest = f"://host:port{example if path else ''}"
    valid = f"valid is {' or '.join(f'{scheme}{rest}' for scheme in schemes)}"
    valid += ", with user:password@ before the host if required" if user else ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{error}; {valid}") from None
    try:
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError(f"its port is not valid; {valid}") from None
    if parts.scheme.lower() not in schemes:
        raise ValueError(f"{parts.scheme}:// is not supported; {valid}")
    if not _is_host(host):
        raise ValueError(f"{'it has no host' if not host else 'its host is not valid'}; {valid}")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"its port is not valid; {valid}")
    if "@" in parts.netloc and not user:
        raise ValueError(f"it contains a user or password, which have their own settings; {valid}")
    if parts.path not in ("", "/") and not path:
        raise ValueError(f"it contains a path; {valid}")
    if (parts.query or url.partition("#")[0].endswith("?")) and not query:
        raise ValueError(f"it contains a query; {valid}")
    if "#" in url:
        raise ValueError(f"it contains a fragment; {valid}")
    return parts


def url_with_brackets(text: str) -> str:
    """`scheme://host:port/path`, with brackets added around IPv6; an empty text is allowed. Raises ValueError if it is not a URL."""
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
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether the host is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether a listener on the host listens on all addresses of the machine."""
    return host in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


Host = Annotated[str, AfterValidator(_host)]
"""Host without port and brackets."""
Address = Annotated[Host, AfterValidator(_one_address)]
"""Host that other machines can connect to: not a wildcard."""
Servers = Annotated[str, AfterValidator(_servers)]
"""Comma-separated `host:port`."""
RayAddress = Annotated[str, AfterValidator(_ray_address)]
"""`auto`, `host:port`, or empty."""
