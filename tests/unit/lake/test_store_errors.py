"""Errors of a failing store: one line with the reason, the endpoint and its setting, from each client and from the commands."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pytest
from minio.error import S3Error
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from actors.backfill.wanted import first_live_ticks
from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.dead_letter_log import ReasonCounts
from cryptoviz.lake.delta import TABLE_ERRORS
from cryptoviz.lake.files import read_commit
from cryptoviz.lake.gap_ledger import read_gaps
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.reader import Lake
from cryptoviz.lake.schema import PRICES
from cryptoviz.lake.store_errors import CLIENT_ERRORS, reason, store_error, store_errors
from cryptoviz.settings import Settings, load_settings
from spark_jobs.gaps.ledger_update import find_gaps
from spark_jobs.streaming.write import put_with
from spark_jobs.tables.orphans import list_data_files, remove_objects
from spark_jobs.tables.table_log import TableLog
from tests.support.http_server import threaded_server
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
# Of no use to these errors.
RESPONSE = HTTPResponse()
POOL = HTTPConnectionPool("h")
NOT_READY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>XMinioServerNotInitialized</Code>'
    b"<Message>Server not initialized yet, please try again.</Message><Resource>/x</Resource></Error>"
)


def test_the_stores_own_reason_is_reported() -> None:
    error = S3Error(RESPONSE, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", "/b/k", "1", "2")
    shown = store_error("http://h:9000", "accept k", error)
    assert isinstance(error, CLIENT_ERRORS)
    assert (shown.engine, shown.address) == ("object-store", "http://h:9000")
    why = "XMinioStorageFull: Storage backend has reached its minimum free drive threshold."
    assert str(shown) == f"the object store did not accept k: {why} (http://h:9000, CRYPTOVIZ_S3__ENDPOINT)"


def test_the_cause_of_all_attempts_is_reported() -> None:
    error = MaxRetryError(POOL, "/b/k?X-Amz-Signature=canary", ReadTimeoutError(POOL, "/b/k", "Read timed out."))
    shown = str(store_error("", "accept k", error))
    assert isinstance(error, CLIENT_ERRORS)
    assert shown.startswith("the object store did not accept k: ReadTimeoutError: ")
    assert "canary" not in shown


def test_a_reason_is_cut() -> None:
    assert len(str(store_error("", "accept k", S3Error(RESPONSE, "Odd", "x" * 5000, "", "", "")))) < 400
    long = reason(OSError("what was done " + "between " * 500 + "the cause"))
    assert long.startswith("what was done")
    assert long.endswith("the cause")
    assert reason(long) == long
    assert len(long) == 300


def test_a_tree_of_causes_becomes_one_line_with_its_root() -> None:
    tree = "Generic S3 error\n  \x1b[31m\u21b3\x1b[0m Error performing PUT http://x/1.json\n    \x1b[31m\u21b3\x1b[0m Connection reset by peer\n"
    assert reason(OSError(tree)) == "Error performing PUT http://x/1.json: Connection reset by peer"
    assert reason(OSError(f"Generic S3 error\n  \u21b3 503\n \u21b3 {NOT_READY.decode()}")) == (
        "XMinioServerNotInitialized: Server not initialized yet, please try again."
    )
    assert reason(OSError()) == "OSError"


def test_only_the_given_errors_are_translated() -> None:
    with pytest.raises(EngineUnavailable, match="did not return k: gone"), store_errors("", "return k", TABLE_ERRORS):
        raise OSError("gone")
    with pytest.raises(OSError, match="a file of this machine"), store_errors("", "return k"):
        raise OSError("a file of this machine")
    with pytest.raises(ValueError, match="a bug"), store_errors("", "return k", TABLE_ERRORS):
        raise ValueError("a bug")


class _NotReady(BaseHTTPRequestHandler):
    """A MinIO that starts: 503 for every request."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503)
        self.send_header("Content-Length", str(len(NOT_READY)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(NOT_READY)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (names of the base class)


@pytest.fixture(scope="module", params=["closed port", "503"])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[Settings, str]]:
    """Settings with a store that does not answer or is not ready, and what its error says."""
    closed = request.param == "closed port"
    with nullcontext(free_port()) if closed else threaded_server(_NotReady) as port:
        yield (
            load_settings("live", s3={"endpoint": f"http://127.0.0.1:{port}", "access_key": "access", "secret_key": "secret-of-a-test"}),
            "Connection refused|Could not connect to server"
            if closed
            else "503|XMinioServerNotInitialized: Server not initialized yet, please try again",
        )


def _table_log(settings: Settings) -> TableLog:
    return TableLog(table_address(settings.s3, "prices"), PRICES, settings.s3.storage_options(), "run")


def _object(settings: Settings) -> S3ConditionalObject:
    return S3ConditionalObject(S3Access.of(settings.s3), settings.s3.lake_bucket, "lease")


@pytest.mark.parametrize(
    "use",
    [
        lambda settings: Lake(settings).query("SELECT 1 FROM prices"),
        lambda settings: Lake(settings).prices(),
        read_gaps,
        first_live_ticks,
        lambda settings: ReasonCounts(settings).look(),
        lambda settings: read_commit(S3Access.of(settings.s3), table_address(settings.s3, "prices"), 0),
        lambda settings: _object(settings).read(),
        lambda settings: _object(settings).write(b"x", None),
        lambda settings: _table_log(settings).open(),
        lambda settings: _table_log(settings).log_state(),
        lambda settings: put_with(S3Access.of(settings.s3))(table_address(settings.s3, "prices"), "p", pa.py_buffer(b"x")),
        lambda settings: find_gaps(settings, 0, lambda _: None),
        lambda settings: list_data_files(minio_client(S3Access.of(settings.s3)), table_address(settings.s3, "prices")),
        lambda settings: remove_objects(minio_client(S3Access.of(settings.s3)), table_address(settings.s3, "prices"), ["p"]),
    ],
    ids=[
        "query",
        "prices",
        "gaps",
        "backfill",
        "dead letters",
        "log entry",
        "object",
        "put",
        "open",
        "log state",
        "upload",
        "gap ledger",
        "list",
        "delete",
    ],
)
def test_a_store_that_does_not_answer_is_one_line(store: tuple[Settings, str], use: Callable[[Settings], object]) -> None:
    settings, says = store
    endpoint = settings.s3.endpoint
    with pytest.raises(EngineUnavailable, match=says) as failed:
        use(settings)
    message = failed.value.message
    assert message.startswith("the object store did not ")
    assert message.endswith(f" ({endpoint}, CRYPTOVIZ_S3__ENDPOINT)")
    assert not [character for character in message if not character.isprintable()]
    assert (failed.value.engine, failed.value.address) == ("object-store", endpoint)
    assert len(message) < 450


def test_a_query_while_the_store_starts_prints_one_line(store: tuple[Settings, str], tmp_path: Path) -> None:
    settings, _ = store
    s3 = {"ENDPOINT": settings.s3.endpoint, "ACCESS_KEY": "access", "SECRET_KEY": "secret-of-a-test"}
    environment = os.environ | {"CRYPTOVIZ_HOME": str(tmp_path)} | {f"CRYPTOVIZ_S3__{name}": value for name, value in s3.items()}
    command = [sys.executable, "-m", "cryptoviz.cli.main", "query", "SELECT count(*) FROM prices"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"error: the object store did not open s3://{settings.s3.prices_bucket}: ")
    assert line.endswith(f" ({settings.s3.endpoint}, CRYPTOVIZ_S3__ENDPOINT)")


def test_no_other_module_translates_errors_of_the_store() -> None:
    """Others name what failed; `object_store` also checks credentials and MinIO's health page; `batch_plan` reports a conflict, no outage.
    The errors of `otel` are those of a receiver of spans.
    """
    makes, catches = set(), set()
    for folder in ("cryptoviz", "actors", "spark_jobs", "control", "dashboard", "market", "scripts", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and any(
                    word.arg == "engine" and isinstance(word.value, ast.Constant) and word.value.value == "object-store" for word in node.keywords
                ):
                    makes.add(name)
                elif isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {"DeltaError", "MinioException", "HTTPError"}:
                    catches.add(name)
    assert makes == {"cryptoviz/lake/store_errors.py", "cryptoviz/engines/object_store.py", "spark_jobs/streaming/batch_plan.py"}
    translators = {"cryptoviz/lake/store_errors.py", "cryptoviz/lake/delta.py", "cryptoviz/lake/files.py", "cryptoviz/engines/object_store.py"}
    assert catches == translators | {"cryptoviz/telemetry/otel.py"}
