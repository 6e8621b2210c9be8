"""Errors of the object store's clients (MinIO, urllib3, delta-rs, pyarrow) as EngineUnavailable: the only place that translates them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError, MaxRetryError

from cryptoviz.errors import EngineUnavailable
from cryptoviz.masking import redact

__all__ = ["CLIENT_ERRORS", "reason", "store_error", "store_errors"]

CLIENT_ERRORS: tuple[type[Exception], ...] = (MinioException, HTTPError)
"""Errors of a `minio_client` when the store refuses a request or does not answer. Those of tables: `cryptoviz.lake.delta.TABLE_ERRORS`."""

_HALF = 150
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BRANCH = "\u21b3"
_RESPONSE = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")


@contextmanager
def store_errors(endpoint: str, doing: str, errors: tuple[type[Exception], ...] = CLIENT_ERRORS) -> Iterator[None]:
    """Raise `errors` of the body as EngineUnavailable, see `store_error`."""
    try:
        yield
    except errors as error:
        raise store_error(endpoint, doing, error) from error


def store_error(endpoint: str, doing: str, why: Exception | str) -> EngineUnavailable:
    """One line with the failed action, the store's reason, the endpoint and its setting."""
    where = f" ({endpoint}, CRYPTOVIZ_S3__ENDPOINT)" if endpoint else ""
    return EngineUnavailable(f"the object store did not {doing}: {reason(why)}{where}", engine="object-store", address=endpoint)


def reason(error: Exception | str) -> str:
    """The reason as one line.

    Of delta-rs' coloured tree of causes the last two remain, of the store's XML the code and the message.
    """
    if isinstance(error, S3Error):
        return _clipped(f"{error.code}: {error.message}")
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return _clipped(f"{type(error.reason).__name__}: {error.reason}")
    if isinstance(error, CLIENT_ERRORS):
        return _clipped(f"{type(error).__name__}: {error}")
    text = _COLOUR.sub("", str(error))
    if found := _RESPONSE.search(text):
        return _clipped(f"{found[1]}: {found[2]}")
    return _clipped(": ".join(part.strip() for part in text.split(_BRANCH)[-2:])) or type(error).__name__


def _clipped(text: str) -> str:
    """One line without secrets; the middle of a long text is cut."""
    text = redact(" ".join(text.split()))
    return text if len(text) <= 2 * _HALF else f"{text[: _HALF - 5]} ... {text[-_HALF:]}"
