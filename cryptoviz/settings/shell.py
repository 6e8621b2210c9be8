"""Protection from the shell's environment: variables that child processes receive, and variables that would change libraries' connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Remove these variables from the environment for a library that reads them in addition to its explicit options, and restore them afterwards.

    One caller at a time. Without such variables, as in the project's own processes, the environment is not modified: a modification crashes the
    process when C code of another thread reads it at the same time.

    Args:
        authorities: also those that name certificate authorities, which a connection without TLS does not use.
    """
    with _lock:
        taken = {name: value for name, value in os.environ.items() if leads_elsewhere(name) and (authorities or not names_authorities(name))}
        for name in taken:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(taken)
