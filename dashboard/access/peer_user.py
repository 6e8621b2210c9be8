"""The user at the other end of a loopback connection, as the kernel's table of TCP sockets names it. Linux only."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

__all__ = ["Endpoint", "peer_uid", "uid_of"]

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_READS = 3
"""A table that changes while it is read can lack a row."""
_UID, _INODE = 7, 9
_FIELDS = 10

Endpoint = tuple[str, int]
"""Address and port."""


def peer_uid(connection: Any) -> int | None:
    """User id of the process at the other end of a socket; None if it is not on this machine, or not known."""
    try:
        here, there = connection.getsockname(), connection.getpeername()
    except OSError:  # already closed
        return None
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or not _unmapped(there[0]).is_loopback:
        return None
    for _ in range(_READS):
        for table in _TABLES:
            try:
                rows = Path(table).read_text(encoding="ascii")
            except OSError:  # no such table on this system
                continue
            if (uid := uid_of((there[0], there[1]), (here[0], here[1]), rows)) is not None:
                return uid
    return None


def uid_of(local: Endpoint, remote: Endpoint, table: str) -> int | None:
    """Owner of the socket from `local` to `remote` in a table of the kernel. Pure.

    A socket that its process has closed has inode 0, and the user id 0 instead of its owner's: its owner is not known.
    """
    for ours, theirs in zip(_written(local), _written(remote), strict=True):
        before, found, after = table.partition(f": {ours} {theirs} ")
        if not found:
            continue
        fields = f"{before.rpartition(chr(10))[2]}{found}{after.partition(chr(10))[0]}".split()
        if len(fields) >= _FIELDS and fields[_INODE] != "0":
            return int(fields[_UID])
    return None


def _written(endpoint: Endpoint) -> tuple[str, str]:
    """An endpoint as IPv4 and as IPv6, in the kernel's notation: words of 32 bits in the order of the processor."""
    address, port = _unmapped(endpoint[0]), endpoint[1]
    wide = address.packed if isinstance(address, IPv6Address) else b"\0" * 10 + b"\xff\xff" + address.packed
    narrow = address.packed if isinstance(address, IPv4Address) else wide
    return _words(narrow, port), _words(wide, port)


def _words(packed: bytes, port: int) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed)) + f":{port:04X}"


def _unmapped(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
