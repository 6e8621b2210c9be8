"""Engines that the project did not start, for its tests: another Kafka (SCRAM), versitygw and Debian's Redis (password), each with TLS only.

They listen on 127.0.0.2, the address of the test certificate. `scripts/external-engines` installs them. CryptoViz learns of them by settings only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptoviz.components import Probe
from cryptoviz.engines.build import ENGINE_NAMES, Engine, build_engine
from cryptoviz.engines.jars import kafka_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.engines.process import ChildProcess
from cryptoviz.settings import Settings, child_environment
from tests.support.documents import ROOT
from tests.support.ports import free_port
from tests.support.waiting import eventually

HOST = "127.0.0.2"
CERTIFICATE, AUTHORITY = (ROOT / "tests" / "data" / "tls" / name for name in ("good.pem", "ca.pem"))
VERSITYGW_VERSION = "v1.8.0"
USER, KAFKA_PASSWORD, S3_KEY, S3_SECRET, REDIS_PASSWORD = "analyst", "kafka-pass/word+9", "gateway-key", "gateway-secret", "redis-pass:word/@%"


def external_settings() -> dict[str, Any]:
    """Sections of the settings that name three external engines, on free ports."""
    return {
        "kafka": {
            "bootstrap_servers": f"{HOST}:{free_port()}", "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER, "sasl_password": KAFKA_PASSWORD, "ssl_ca_location": str(AUTHORITY),
        },
        "s3": {"endpoint": f"https://{HOST}:{free_port()}", "access_key": S3_KEY, "secret_key": S3_SECRET, "ca_file": str(AUTHORITY)},
        "redis": {"url": f"rediss://{HOST}:{free_port()}/0?ssl_ca_certs={AUTHORITY}", "password": REDIS_PASSWORD},
    }  # fmt: skip


def control_settings(folder: Path) -> dict[str, Any]:
    """Section of the settings that makes the control service speak TLS only. `folder`: for its certificate with the authority."""
    chain = folder / "control.pem"
    chain.write_text(CERTIFICATE.read_text() + AUTHORITY.read_text())
    return {"control": {"host": HOST, "tls_cert": str(chain), "tls_key": str(CERTIFICATE)}}


def as_environment(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Variables of these sections of the settings."""
    return {f"CRYPTOVIZ_{section}__{name}".upper(): str(value) for section, fields in sections.items() for name, value in fields.items()}


def server(name: str, settings: Settings) -> ChildProcess:
    """The server of this engine, not started, with its data in a folder beside the home."""
    make = {"kafka": kafka_server, "object-store": _object_store, "redis": _redis}[name]
    return make(settings, settings.home.parent / f"external-{settings.home.name}" / name)


@contextlib.contextmanager
def running_servers(settings: Settings) -> Iterator[None]:
    """The servers that the settings name, until the end of the context."""
    with contextlib.ExitStack() as stack:
        for name in ENGINE_NAMES:
            process = server(name, settings)
            stack.callback(process.stop)
            start(process, address_of(settings, name))
        yield


def address_of(settings: Settings, name: str) -> tuple[str, int]:
    """Host and port of an engine."""
    url = {"kafka": f"//{settings.kafka.bootstrap_servers}", "object-store": settings.s3.endpoint, "redis": settings.redis.url}[name]
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def start(process: ChildProcess, address: tuple[str, int]) -> None:
    """Start the server and wait until it accepts connections."""
    process.start()

    def accepts() -> bool:
        assert process.running, process.tail(30)
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            return False
        return True

    eventually(accepts, 120, 0.1)


@dataclass
class ExternalServer:
    """An external server with the interface of an embedded engine, so that tests can start, stop and kill it. Settings see an external engine."""

    name: str
    settings: Settings
    process: ChildProcess
    engine: Engine

    @classmethod
    def of(cls, name: str, settings: Settings) -> ExternalServer:
        return cls(name, settings, server(name, settings), build_engine(name, settings))

    @property
    def url(self) -> str | None:
        return None

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def start(self) -> None:
        start(self.process, address_of(self.settings, self.name))
        eventually(lambda: self.engine.probe().healthy, 120, 0.2)
        self.engine.start()

    def stop(self, grace_s: float = 10.0) -> None:
        self.engine.stop()
        self.process.stop(grace_s)

    def kill(self) -> None:
        if self.process.pid is not None:
            os.kill(self.process.pid, 9)

    def probe(self) -> Probe:
        return self.engine.probe()


def kafka_server(settings: Settings, folder: Path, behind: int | None = None) -> ChildProcess:
    """A node whose clients use SCRAM over TLS. Two listeners: the broker's connection to its own controller is another.

    `behind`: the port that it listens on, if its clients connect to a proxy at the port of the settings.
    """
    host, port = address_of(settings, "kafka")
    controller, data = free_port(), folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    scram = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="{USER}" password="{KAFKA_PASSWORD}";'
    properties = {
        "process.roles": "broker,controller",
        "node.id": "7",
        "listeners": f"OUTSIDE://{host}:{behind or port},QUORUM://{host}:{controller}",
        "advertised.listeners": f"OUTSIDE://{host}:{port}",
        "listener.security.protocol.map": "OUTSIDE:SASL_SSL,QUORUM:PLAINTEXT",
        "inter.broker.listener.name": "OUTSIDE",
        "controller.listener.names": "QUORUM",
        "controller.quorum.bootstrap.servers": f"{host}:{controller}",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.outside.scram-sha-512.sasl.jaas.config": scram,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(CERTIFICATE),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(AUTHORITY),
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        **dict.fromkeys(("offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr"), "1"),
        **dict.fromkeys(("offsets.topic.num.partitions", "transaction.state.log.num.partitions"), "4"),
        "group.initial.rebalance.delay.ms": "0",
    }
    (folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java, classpath = str(java_executable()), kafka_classpath(settings)
    common = [java, "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath]
    if not (data / "meta.properties").is_file():
        user = f"SCRAM-SHA-512=[name={USER},password={KAFKA_PASSWORD}]"
        format_storage = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "fx_Vq5Q1SOmzQ0iW7Lo0sg", "-c", "server.properties", "-S", user]
        done = subprocess.run([*common, *format_storage], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return ChildProcess("external-kafka", [*common, "kafka.Kafka", "server.properties"], folder / "kafka.log", child_environment({}), folder)


def _object_store(settings: Settings, folder: Path) -> ChildProcess:
    host, port = address_of(settings, "object-store")
    program = settings.cache / "versitygw" / VERSITYGW_VERSION / "versitygw"
    assert program.is_file(), f"{program} is missing: run scripts/external-engines"
    data, attributes = folder / "data", folder / "attributes"
    for each in (data, attributes):
        each.mkdir(parents=True, exist_ok=True)
    command = [
        str(program),
        "--port",
        f"{host}:{port}",
        "--cert",
        str(CERTIFICATE),
        "--key",
        str(CERTIFICATE),
        "--quiet",
        "--keep-alive",
        "posix",
        "--sidecar",
        str(attributes),
        str(data),
    ]
    secrets = {"ROOT_ACCESS_KEY": settings.s3.access_key, "ROOT_SECRET_KEY": settings.s3.secret_key.get_secret_value()}
    return ChildProcess("versitygw", command, folder / "versitygw.log", child_environment(secrets), folder)


def _redis(settings: Settings, folder: Path) -> ChildProcess:
    host, port = address_of(settings, "redis")
    program = shutil.which("redis-server") or settings.cache / "external-engines" / "redis-server"
    folder.mkdir(parents=True, exist_ok=True)
    password = REDIS_PASSWORD.replace('"', '\\"')
    lines = (
        f"bind {host}", "port 0", f"tls-port {port}", f"tls-cert-file {CERTIFICATE}", f"tls-key-file {CERTIFICATE}", f"tls-ca-cert-file {AUTHORITY}",
        "tls-auth-clients no", f'requirepass "{password}"', f"dir {folder}", "appendonly yes", "daemonize no",
    )  # fmt: skip
    (folder / "redis.conf").write_text("\n".join(lines) + "\n")
    return ChildProcess("redis-server", [str(program), "redis.conf"], folder / "redis.log", child_environment({}), folder)
