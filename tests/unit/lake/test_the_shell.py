"""A user's shell variables do not affect requests to the store: each library runs in a separate process, with a recorder as the store."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ADDRESSES = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_METADATA_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_PROXY_URL",
    "PROXY_URL",
    "ENDPOINT",
    "ENDPOINT_URL",
    "grpc_proxy",
]
TEXTS = [
    "AWS_SESSION_TOKEN",
    "AWS_TOKEN",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_ROLE_ARN",
    "AWS_CHECKSUM_ALGORITHM",
    "TOKEN",
    "REGION",
    "ACCESS_KEY_ID",
    "SESSION_TOKEN",
    "USER_AGENT",
    "BUCKET",
]
OPTIONS = [
    "AWS_SKIP_SIGNATURE",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_REQUEST_PAYER",
    "AWS_S3_EXPRESS",
    "AWS_UNSIGNED_PAYLOAD",
    "AWS_IMDSV1_FALLBACK",
    "AWS_DISABLE_TAGGING",
]
MISSING = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
]
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


class Recorder:
    """An empty HTTP server that records requests."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                recorder.seen.append(f"{self.requestline}\n{self.headers}")
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def servers() -> Iterator[tuple[Recorder, Recorder]]:
    store, trap = Recorder(), Recorder()
    yield store, trap
    store.close()
    trap.close()


def hostile(trap: str, home: Path) -> dict[str, str]:
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id = shell-canary\naws_secret_access_key = shell-canary\n")
    (home / ".aws" / "config").write_text(f"[default]\nregion = shell-canary\nendpoint_url = {trap}\n")
    (home / ".netrc").write_text("default login shell-canary password shell-canary\n")
    found = dict.fromkeys(ADDRESSES, trap) | dict.fromkeys(TEXTS, "shell-canary") | dict.fromkeys(OPTIONS, "true")
    return found | dict.fromkeys(MISSING, "/nonexistent") | {"TIMEOUT": "1ms", "AWS_CONDITIONAL_PUT": "disabled", "HOME": str(home)}


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
        assert "shell-canary" not in sent
        assert "security-token" not in sent.lower()
        assert sent.count("Credential=cryptoviz/") == len(store.seen)
        return asked(store)

    clean = ask(plain)
    assert len(clean) >= 4
    assert ask(plain | hostile(trap.url, tmp_path / "user")) == clean
    assert trap.seen == []
