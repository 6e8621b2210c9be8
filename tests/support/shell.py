"""Environment variables of a shell that redirect libraries, and a server that records requests of libraries that follow them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.http_server import threaded_server

__all__ = ["SHELL_VALUE", "Recorder", "hostile_shell", "recording"]

SHELL_VALUE = "shell-canary"
"""Stands in every variable that is no address."""
_ADDRESSES = (
    "http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY AWS_ENDPOINT AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_METADATA_ENDPOINT "
    "AWS_EC2_METADATA_SERVICE_ENDPOINT AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_PROXY_URL PROXY_URL ENDPOINT ENDPOINT_URL grpc_proxy"
)
_TEXTS = (
    "AWS_SESSION_TOKEN AWS_TOKEN AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_DEFAULT_REGION AWS_SERVER_SIDE_ENCRYPTION "
    "AWS_SSE_KMS_KEY_ID AWS_ROLE_ARN AWS_CHECKSUM_ALGORITHM BUCKET TOKEN REGION ACCESS_KEY_ID SESSION_TOKEN USER_AGENT RAY_NAMESPACE REDIS_URL "
    "REDISCLI_AUTH SPARK_MASTER"
)
_PATHS = (
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE SPARK_HOME "
    "SPARK_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON HADOOP_CONF_DIR GRPC_DEFAULT_SSL_ROOTS_FILE_PATH JAVA_HOME CLASSPATH KAFKA_HOME "
    "AWS_WEB_IDENTITY_TOKEN_FILE NETRC"
)
_SWITCHES = (
    "AWS_SKIP_SIGNATURE AWS_VIRTUAL_HOSTED_STYLE_REQUEST AWS_REQUEST_PAYER AWS_S3_EXPRESS AWS_UNSIGNED_PAYLOAD AWS_IMDSV1_FALLBACK "
    "AWS_DISABLE_TAGGING"
)
_JAVA = "JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS KAFKA_OPTS KAFKA_HEAP_OPTS SPARK_SUBMIT_OPTS PYSPARK_SUBMIT_ARGS"


@dataclass
class Recorder:
    """What a server has received: the first bytes of each connection; request line and headers of each request."""

    url: str = ""
    connections: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[Recorder]:
    """A server on loopback that answers 404."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            recorder.connections.append(repr(self.connection.recv(200, socket.MSG_PEEK)))
            super().handle()

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

    with threaded_server(Handler) as port:
        recorder.url = f"http://127.0.0.1:{port}"
        yield recorder


def hostile_shell(trap: Recorder, home: Path) -> dict[str, str]:
    """The variables, and a user's home folder with configuration files of some libraries."""
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(f"[default]\naws_access_key_id = {SHELL_VALUE}\naws_secret_access_key = {SHELL_VALUE}\n")
    (home / ".aws" / "config").write_text(f"[default]\nregion = {SHELL_VALUE}\nendpoint_url = {trap.url}\n")
    (home / ".netrc").write_text(f"default login {SHELL_VALUE} password {SHELL_VALUE}\n")
    found = dict.fromkeys(_ADDRESSES.split(), trap.url) | dict.fromkeys(_TEXTS.split(), SHELL_VALUE) | dict.fromkeys(_PATHS.split(), "/nonexistent")
    found |= dict.fromkeys(_SWITCHES.split(), "true") | dict.fromkeys(_JAVA.split(), f"-D{SHELL_VALUE}=1 -Xmx1k")
    return found | {"AWS_TIMEOUT": "1ms", "TIMEOUT": "1ms", "AWS_CONDITIONAL_PUT": "disabled", "RAY_ADDRESS": "127.0.0.1:1", "HOME": str(home)}
