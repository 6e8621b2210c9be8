"""Errors of a failing store."""

from __future__ import annotations

from typing import cast

from minio.error import S3Error
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from cryptoviz.lake.objects import STORE_ERRORS, one_line, store_error

# Of no use to these errors.
RESPONSE = cast("BaseHTTPResponse", None)
POOL = cast("ConnectionPool", None)


def test_the_stores_own_reason_is_reported() -> None:
    error = S3Error(RESPONSE, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", "/b/k", "1", "2")
    shown = store_error(error, "accept k")
    assert isinstance(error, STORE_ERRORS)
    assert shown.engine == "object-store"
    assert str(shown) == "the object store did not accept k: XMinioStorageFull: Storage backend has reached its minimum free drive threshold."


def test_the_cause_of_all_attempts_is_reported() -> None:
    error = MaxRetryError(POOL, "/b/k?X-Amz-Signature=canary", ReadTimeoutError(POOL, "/b/k", "Read timed out."))
    shown = str(store_error(error, "accept k"))
    assert isinstance(error, STORE_ERRORS)
    assert shown.startswith("the object store did not accept k: ReadTimeoutError: ")
    assert "canary" not in shown


def test_a_reason_is_cut() -> None:
    assert len(str(store_error(S3Error(RESPONSE, "Odd", "x" * 5000, "", "", ""), "accept k"))) < 400


def test_a_tree_of_causes_becomes_one_line_with_its_root() -> None:
    tree = "Generic S3 error\n  \x1b[31m\u21b3\x1b[0m Error performing PUT http://x/1.json\n    \x1b[31m\u21b3\x1b[0m Connection reset by peer\n"
    assert one_line(OSError(tree)) == "Generic S3 error Error performing PUT http://x/1.json Connection reset by peer"
    long = one_line(OSError("what was done " + "between " * 500 + "the cause"))
    assert long.startswith("what was done")
    assert long.endswith("the cause")
    assert len(long) < 320
