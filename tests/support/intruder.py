"""Another user of the machine, or a web page: plain sockets and files, without the pipeline's secrets."""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 (another user cannot read the folder that it would be loaded from)
import http.client
import os
import pickle
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

T = TypeVar("T")

NOBODY = 65534
_TIMEOUT_S = 60.0
_SILENCE_S = 5.0
"""For servers of other protocols, which may wait for more of a message that they do not understand."""


def as_another_user(work: Callable[[], T]) -> T:
    """Run `work` in a child process as the user `nobody` and return its result.

    Only root can change the user, as in CI. Otherwise `work` runs as the owner without the owner's groups, so that sockets are tested in any case;
    access to files must then be judged by their modes.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            os.chdir("/")
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_outcome(work), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    outcome, failure = pickle.loads(answer)
    assert failure is None, failure
    return outcome  # type: ignore[no-any-return]


def _outcome(work: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 (reported by the parent)
        return None, repr(error)


def answer_of(address: tuple[str, int], message: bytes, until: Callable[[bytes], bool] = lambda _: False, silence_s: float = _TIMEOUT_S) -> bytes:
    """A server's response to one message, until it closes, is silent for so long, or `until` is satisfied."""
    return exchange(address, message, until, silence_s)[0]


def exchange(
    address: tuple[str, int], message: bytes, until: Callable[[bytes], bool] = lambda _: False, silence_s: float = _TIMEOUT_S
) -> tuple[bytes, bool]:
    """As `answer_of`, and whether the server closed the connection."""
    received = b""
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_S) as connection:
            connection.settimeout(silence_s)
            connection.sendall(message)
            while not until(received):
                chunk = connection.recv(65536)
                if not chunk:
                    return received, True
                received += chunk
    except TimeoutError:
        return received, False
    except OSError:  # a reset counts as closed
        return received, True
    return received, False


def http_answer(
    address: tuple[str, int], path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body; (0, b"") if the response is not HTTP."""
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def grpc_answer(address: tuple[str, int], method: str, message: bytes = b"") -> str:
    """Name of the status code of a call without a token."""
    with grpc.insecure_channel(f"{address[0]}:{address[1]}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            call(message, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


def py4j_static_call(address: tuple[str, int]) -> bytes:
    """Java's `System.getProperty("user.home")` through a Py4J gateway: `!ys<home>` on success."""
    return answer_of(address, b"c\nz:java.lang.System\ngetProperty\nsuser.home\ne\n", lambda received: b"\n" in received, _SILENCE_S)


def py4j_callback(address: tuple[str, int]) -> bytes:
    """A method of the first Python object that Java may call back: `!y...` on success."""
    return answer_of(address, b"c\np0\ntoString\ne\n", lambda received: b"\n" in received, _SILENCE_S)


def spark_rpc(address: tuple[str, int]) -> tuple[bytes, bool]:
    """A request of Spark's transport without authentication: the reply, and whether the server closed the connection."""
    body = b"\x00" * 16
    frame = struct.pack(">qbqi", 8 + 1 + 8 + 4 + len(body), 3, 7, len(body)) + body
    return exchange(address, frame, silence_s=3 * _SILENCE_S)  # a reason may come before the end


def kafka_metadata() -> bytes:
    """The metadata request for all topics, version 0, without a login."""
    request = struct.pack(">hhih", 3, 0, 1, 1) + b"x" + struct.pack(">i", 0)
    return struct.pack(">i", len(request)) + request


def python_worker(address: tuple[str, int]) -> bytes:
    """A wrong secret sent to Spark's Python worker daemon: `ok` if it is accepted."""
    secret = b"wrong"
    return answer_of(address, struct.pack(">i", len(secret)) + secret, silence_s=_SILENCE_S)


def readable(folder: Path) -> list[str]:
    """Everything at or below the folder that can be listed, read or written."""
    found = []
    for here, folders, files in os.walk(folder):
        found += [f"list {here}"] if folders or files else []
        for name in (*folders, *files):
            path = Path(here, name)
            for access, word in ((os.R_OK, "read"), (os.W_OK, "write")):
                if not path.is_symlink() and os.access(path, access):
                    found.append(f"{word} {path}")
    return found


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the entry and its content to another user. Only root can do so; otherwise the tests treat this user as another one."""
    if os.geteuid() != 0:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: other)
        return
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
