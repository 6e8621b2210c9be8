"""Access to the object store: table locations, and clients for plain S3 requests and pyarrow.

Clients are built from an `S3Access`, a small picklable value, because executors do not have the settings tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import pyarrow.fs as pafs
import urllib3
from minio import Minio
from minio.error import S3Error

from cryptoviz.security.tls import ca_path, trust_of
from cryptoviz.settings import S3Settings

__all__ = ["S3Access", "TableAddress", "find_object", "minio_client", "read_object", "table_address"]

_CONNECT_S = 5.0
_READ_S = 30.0
# About 3 s of retries; callers that can wait longer retry on top and report it. The last response is returned, because it has the reason.
_RETRIES = urllib3.Retry(
    total=4, backoff_factor=0.2, backoff_max=2, backoff_jitter=0.2, status_forcelist=[500, 502, 503, 504], allowed_methods=None, raise_on_status=False
)


@dataclass(frozen=True, slots=True)
class S3Access:
    """Endpoint and credentials of the object store. Contains the secret: never log it; its repr hides it."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    ca_pem: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: S3Settings) -> S3Access:
        return cls(settings.endpoint, settings.region, settings.access_key, settings.secret_key.get_secret_value(), settings.ca_pem)

    def filesystem(self) -> pafs.S3FileSystem:
        """A pyarrow file system; paths are `bucket/key`."""
        address = urlsplit(self.endpoint)
        return pafs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=address.netloc,
            scheme=address.scheme,
            region=self.region,
            connect_timeout=_CONNECT_S,
            request_timeout=_READ_S,
            tls_ca_file_path=ca_path(self.ca_pem),
        )


@dataclass(frozen=True, slots=True)
class TableAddress:
    """Location of a table. `prefix` is empty or ends in a slash; `endpoint`: of the store."""

    table: str
    bucket: str
    prefix: str
    endpoint: str = ""

    @property
    def uri(self) -> str:
        """URI for delta-rs."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def root(self) -> str:
        """Path for pyarrow's file system."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, path: str) -> str:
        """The object key of a path relative to the table."""
        return self.prefix + path


def table_address(settings: S3Settings, table: str) -> TableAddress:
    """Location of a table: the root of its bucket for prices, a folder of the lake bucket for all others."""
    if table == "prices":
        return TableAddress(table, settings.prices_bucket, "", settings.endpoint)
    return TableAddress(table, settings.lake_bucket, f"{table}/", settings.endpoint)


@lru_cache(maxsize=8)
def minio_client(access: S3Access) -> Minio:
    """A cached client with timeouts and retries. Thread-safe."""
    address = urlsplit(access.endpoint)
    timeout = urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)
    pool = urllib3.PoolManager(timeout=timeout, maxsize=32, retries=_RETRIES, ssl_context=trust_of(access.endpoint, access.ca_pem))
    return Minio(
        address.netloc,
        access_key=access.access_key,
        secret_key=access.secret_key,
        secure=address.scheme == "https",
        region=access.region,
        http_client=pool,
    )


def read_object(client: Minio, bucket: str, key: str) -> bytes:
    """The content of an object. The connection returns to the pool in every case.

    Raises:
        MinioException, HTTPError: `store_errors.CLIENT_ERRORS`; there is no such object, or the store does not answer.
    """
    response = client.get_object(bucket, key)
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()


def find_object(client: Minio, bucket: str, key: str) -> bytes | None:
    """As `read_object`; None when there is no such object."""
    try:
        return read_object(client, bucket, key)
    except S3Error as error:
        if error.code == "NoSuchKey":
            return None
        raise
