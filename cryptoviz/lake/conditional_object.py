"""Compare-and-swap on one small S3 object, by conditional put (`If-Match`, `If-None-Match`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol

import urllib3

from cryptoviz.errors import TransientError
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.lake.store_errors import reason, store_error, store_errors
from cryptoviz.security.tls import trust_of

__all__ = ["ConditionalObject", "ObjectChanged", "ObjectVersion", "S3ConditionalObject"]

# A read or write of a few hundred bytes takes 5 ms, and callers retry after a few seconds.
_TIMEOUT = urllib3.Timeout(connect=2.0, read=5.0)
_SIGNED_FOR = timedelta(minutes=1)
_MOST_READ = 4096


class ObjectChanged(TransientError):
    """Another process has written the object; read it again."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """A version of the object: content, ETag, and age by the store's clock, in whole seconds."""

    content: bytes
    etag: str
    age_s: float


class ConditionalObject(Protocol):
    """Interface, so that logic can be tested with a fake."""

    def read(self) -> ObjectVersion | None:
        """The current version; None if the object does not exist. Raises EngineUnavailable."""

    def write(self, content: bytes, over: str | None) -> str:
        """Replace the version with the ETag `over`, or create the object if None. Returns the new ETag.

        Raises:
            ObjectChanged: the current version has another ETag.
            EngineUnavailable: the store does not answer; the outcome is unknown.
        """


class S3ConditionalObject:
    """An S3 object. Each call makes one request without retries and takes at most 7 s."""

    def __init__(self, access: S3Access, bucket: str, key: str) -> None:
        self._access = access
        self._bucket = bucket
        self._key = key

    def read(self) -> ObjectVersion | None:
        response = self._ask("GET", None, {})
        if response.status == 404:
            return None
        self._expect_ok(response, "return")
        written, now = (parsedate_to_datetime(response.headers[name]) for name in ("Last-Modified", "Date"))
        return ObjectVersion(response.data, response.headers["ETag"], (now - written).total_seconds())

    def write(self, content: bytes, over: str | None) -> str:
        response = self._ask("PUT", content, {"If-None-Match": "*"} if over is None else {"If-Match": over})
        if response.status == 412 or (response.status == 404 and over is not None):
            raise ObjectChanged(f"s3://{self._bucket}/{self._key} was changed by another process")
        self._expect_ok(response, "accept")
        return response.headers["ETag"]

    def now(self) -> datetime:
        """The store's time (UTC, whole seconds), whether the object exists or not. Raises EngineUnavailable."""
        response = self._ask("HEAD", None, {})
        if "Date" not in response.headers:
            raise store_error(self._access.endpoint, "return its time", f"the response has no Date header: status {response.status}")
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)

    def _ask(self, method: str, body: bytes | None, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        with store_errors(self._access.endpoint, f"answer for {self._bucket}/{self._key}"):
            # Minio's put takes no conditions; a presigned URL does, since it signs no header but the host.
            url = minio_client(self._access).get_presigned_url(method, self._bucket, self._key, expires=_SIGNED_FOR)
            return _pool(self._access.endpoint, self._access.ca_pem).request(method, url, body=body, headers=headers)

    def _expect_ok(self, response: urllib3.BaseHTTPResponse, doing: str) -> None:
        if response.status >= 300:
            why = f"status {response.status}: {reason(response.data[:_MOST_READ].decode(errors='replace'))}"
            raise store_error(self._access.endpoint, f"{doing} {self._bucket}/{self._key}", why)


@lru_cache(maxsize=2)
def _pool(endpoint: str, ca_pem: str) -> urllib3.PoolManager:
    return urllib3.PoolManager(timeout=_TIMEOUT, retries=False, maxsize=4, ssl_context=trust_of(endpoint, ca_pem))
