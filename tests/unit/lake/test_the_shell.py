"""A user's shell variables do not affect requests to the store: each library runs in a separate process, with a recorder as the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shell import SHELL_VALUE, Recorder, hostile_shell, recording

ASK = """
import contextlib, os, sys
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.settings import load_settings

before = dict(os.environ)
s3 = load_settings(home=sys.argv[1], s3={"endpoint": sys.argv[2], "secret_key": "settings-secret"}).s3
for ask in (
    lambda: DeltaTable("s3://bucket/table", storage_options=s3.storage_options()),
    lambda: DeltaTable.create("s3://bucket/new", schema=[], storage_options=s3.storage_options()),
    lambda: S3Access.of(s3).filesystem().get_file_info("bucket/object"),
    lambda: minio_client(S3Access.of(s3)).bucket_exists("bucket"),
):
    with contextlib.suppress(Exception):
        ask()
assert dict(os.environ) == before
"""


@pytest.fixture
def servers() -> Iterator[tuple[Recorder, Recorder]]:
    with recording() as store, recording() as trap:
        yield store, trap


def asked(store: Recorder) -> list[str]:
    """Method, path and names of headers, without parts that differ from call to call."""
    found = [json.dumps([one.split("\n")[0].split()[:2], sorted(line.split(":")[0].lower() for line in one.splitlines()[1:])]) for one in store.seen]
    store.seen.clear()
    return found


def test_every_library_asks_the_store_as_from_a_clean_shell(servers: tuple[Recorder, Recorder], tmp_path: Path) -> None:
    store, trap = servers
    plain = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}

    def ask(environment: dict[str, str]) -> list[str]:
        done = subprocess.run([sys.executable, "-c", ASK, str(tmp_path / "home"), store.url], env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        sent = "".join(store.seen)
        assert SHELL_VALUE not in sent
        assert "security-token" not in sent.lower()
        assert sent.count("Credential=cryptoviz/") == len(store.seen)
        return asked(store)

    clean = ask(plain)
    assert len(clean) >= 4
    assert ask(plain | hostile_shell(trap, tmp_path / "user")) == clean
    assert trap.connections == []
