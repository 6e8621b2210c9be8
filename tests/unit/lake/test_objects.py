"""What a failing store is told as."""

from __future__ import annotations

from minio.error import S3Error
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from cryptoviz.lake.objects import STORE_ERRORS, store_error


def test_the_stores_own_reason_is_told() -> None:
    error = S3Error(None, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", "/b/k", "1", "2")
    told = store_error(error, "take k")
    assert isinstance(error, STORE_ERRORS)
    assert told.engine == "object-store"
    assert str(told) == "the object store did not take k: XMinioStorageFull: Storage backend has reached its minimum free drive threshold."


def test_the_cause_behind_all_tries_is_told() -> None:
    error = MaxRetryError(None, "/b/k?X-Amz-Signature=canary", ReadTimeoutError(None, "/b/k", "Read timed out."))
    told = str(store_error(error, "take k"))
    assert isinstance(error, STORE_ERRORS)
    assert told.startswith("the object store did not take k: ReadTimeoutError: ")
    assert "canary" not in told


def test_a_reason_is_cut() -> None:
    assert len(str(store_error(S3Error(None, "Odd", "x" * 5000, "", "", ""), "take k"))) < 400
