"""Protection from the shell's environment: variables that child processes receive, and variables that would change libraries' connections."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import cast

__all__ = ["PLAIN_NAMES", "forget_options", "leads_elsewhere", "names_authorities", "without_the_shell"]

PLAIN_NAMES = frozenset(
    ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "PATH", "TMPDIR", "TZ")
)  # fmt: skip
"""Variables that any program needs. No proxies and certificate authorities, which are settings (`network`)."""
# Names without the prefix AWS_ that the object store of delta-rs reads as options (`AmazonS3ConfigKey`, `ClientConfigKey`).
_OPTIONS = frozenset(
    (
        "ACCESS_KEY_ID", "ALLOW_HTTP", "ALLOW_INVALID_CERTIFICATES", "BUCKET", "BUCKET_NAME", "CONDITIONAL_PUT", "CONNECT_TIMEOUT",
        "COPY_IF_NOT_EXISTS",
        "DEFAULT_CONTENT_TYPE", "DEFAULT_REGION", "DISABLE_TAGGING", "ENDPOINT", "ENDPOINT_URL", "HTTP1_ONLY", "HTTP2_ONLY", "IMDSV1_FALLBACK",
        "MAX_RETRIES", "METADATA_ENDPOINT", "POOL_IDLE_TIMEOUT", "POOL_MAX_IDLE_PER_HOST", "PROXY_CA_CERTIFICATE", "PROXY_EXCLUDES", "PROXY_URL",
        "RANDOMIZE_ADDRESSES", "REGION", "REQUEST_PAYER", "RETRY_TIMEOUT", "S3_EXPRESS", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "SKIP_SIGNATURE",
        "TIMEOUT", "TOKEN", "UNSIGNED_PAYLOAD", "USER_AGENT", "VIRTUAL_HOSTED_STYLE_REQUEST",
    )
)  # fmt: skip
_lock = threading.RLock()


def leads_elsewhere(name: str) -> bool:
    """Whether a library may read the variable as an option of an object store, a proxy or a certificate authority."""
    upper = name.upper()
    return upper.startswith(("AWS_", "SSL_CERT_")) or upper.endswith(("_PROXY", "_CA_BUNDLE")) or upper in _OPTIONS


def forget_options() -> None:
    """Delete these variables, except proxies, which settings read. Call it in the project's own programs, before other threads start."""
    for name in [name for name in os.environ if leads_elsewhere(name) and not name.upper().endswith("_PROXY")]:
        del os.environ[name]


def names_authorities(name: str) -> bool:
    """Whether the variable names certificate authorities. Conda and Nix set such a variable in every shell."""
    upper = name.upper()
    return upper.startswith("SSL_CERT_") or upper.endswith("_CA_BUNDLE")


@contextmanager
def without_the_shell(*, authorities: bool = True) -> Iterator[None]:
    """Hide these variables from a library in C or Rust that reads them in addition to its explicit options, and show them again afterwards.

    One caller at a time. `os.environ` is not modified, so Python code, also of other threads, sees no difference. Nor is an entry removed from the
    environment of the process: to add it again would move the environment, and crash the process when C code of another thread (`getaddrinfo`,
    OpenSSL) reads it at the same time. Instead the first letter of the name is changed in place.

    Args:
        authorities: also those that name certificate authorities, which a connection without TLS does not use.
    """
    hidden: list[tuple[str, str | None, ctypes.c_char, bytes]] = []
    with _lock:
        try:
            for name in os.environ:
                if leads_elsewhere(name) and (authorities or not names_authorities(name)) and (letter := _first_letter(name)) is not None:
                    hidden.append((name, os.environ.get(name), letter, letter.value))
                    letter.value = b"_"
            yield
        finally:
            for name, before, letter, shown in hidden:
                letter.value = shown
                now = os.environ.get(name)
                if now != before:  # another thread has changed it meanwhile
                    os.unsetenv(name) if now is None else os.putenv(name, now)


def _first_letter(name: str) -> ctypes.c_char | None:
    """The letter in the environment of the process, which C code reads. None: the variable is only in `os.environ`."""
    raw = os.fsencode(name)
    value = _getenv()(raw)
    return None if value is None else ctypes.c_char.from_address(value - len(raw) - 1)  # an entry is NAME=VALUE


@cache
def _getenv() -> Callable[[bytes], int | None]:
    getenv = ctypes.PyDLL(None).getenv  # holds the GIL, so that Python code of another thread cannot move the environment
    getenv.argtypes, getenv.restype = [ctypes.c_char_p], ctypes.c_void_p
    return cast("Callable[[bytes], int | None]", getenv)
