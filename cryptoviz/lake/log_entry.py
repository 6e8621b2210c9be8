"""One entry of a table's Delta log, read by its number: when it was made and how far the lake job was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.objects import S3Access, TableAddress, minio_client
from cryptoviz.lake.progress import METADATA_KEY, Progress

__all__ = ["Commit", "read_commit"]


@dataclass(frozen=True, slots=True)
class Commit:
    """An entry of a Delta log. `made`: UTC; `progress`: None if the lake job did not make the commit."""

    version: int
    made: datetime
    progress: Progress | None


def read_commit(access: S3Access, address: TableAddress, version: int) -> Commit | None:
    """Read the log entry of a version; None if the log no longer has it. (delta-rs reads entries only backwards from the newest.)

    Raises:
        EngineUnavailable: the object store does not answer.
    """
    try:
        response = minio_client(access).get_object(address.bucket, address.key(f"_delta_log/{version:020d}.json"))
        try:
            lines = response.read().splitlines()
        finally:
            response.close()
            response.release_conn()
    except (MinioException, HTTPError, OSError) as error:
        if isinstance(error, S3Error) and error.code == "NoSuchKey":
            return None
        raise EngineUnavailable(f"the object store did not return log entry {version} of {address.uri}: {error}", engine="object-store") from error
    info: dict[str, Any] = next((action["commitInfo"] for line in lines if "commitInfo" in (action := orjson.loads(line))), {})
    made = datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC)
    return Commit(version, made, Progress.from_json(info[METADATA_KEY]) if METADATA_KEY in info else None)
