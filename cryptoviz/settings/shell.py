"""What of the shell's environment may count: enough for a program to run, and nothing about where data lie or how they are reached."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["PLAIN_NAMES", "forget_options", "leads_elsewhere", "without_the_shell"]

PLAIN_NAMES = frozenset(
    ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "PATH", "TMPDIR", "TZ")
)  # fmt: skip
"""What a program needs to run at all. No proxy and no authorities: those are settings (`network`), for what leaves for the internet."""
# Names, without AWS_ before them, that the Delta library's object store takes for options (`AmazonS3ConfigKey`, `ClientConfigKey`).
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
    """Whether a library may take the variable for an option of an object store, a proxy or an authority."""
    upper = name.upper()
    return upper.startswith(("AWS_", "SSL_CERT_")) or upper.endswith(("_PROXY", "_CA_BUNDLE")) or upper in _OPTIONS


def forget_options() -> None:
    """Take such variables away for good, but for proxies, which are settings' to read. For our own programs, before there is another thread."""
    for name in [name for name in os.environ if leads_elsewhere(name) and not name.upper().endswith("_PROXY")]:
        del os.environ[name]


@contextmanager
def without_the_shell() -> Iterator[None]:
    """The environment of this process without such variables, for a library that reads it behind its explicit options.

    One caller at a time; the variables come back. Where there is none, as in our own processes and most others, nothing is changed: to change the
    environment while another thread's C code reads it is not safe.
    """
    with _lock:
        taken = {name: value for name, value in os.environ.items() if leads_elsewhere(name)}
        for name in taken:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(taken)
