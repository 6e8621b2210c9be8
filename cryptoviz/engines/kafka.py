"""Apache Kafka as a single KRaft node, and the pipeline's topics in an embedded or external broker."""

from __future__ import annotations

import base64
import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from cryptoviz.engines.class_archive import archive_options
from cryptoviz.engines.embedded import EmbeddedEngine, require_password
from cryptoviz.engines.jars import kafka_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.engines.ports import PortUse, pipeline_ports
from cryptoviz.engines.process import bound_to_parent
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.kafka.clients import jaas_quoted
from cryptoviz.local.ownership import make_private
from cryptoviz.local.private import OTHERS, write_private
from cryptoviz.log import get_logger
from cryptoviz.settings import LOOPBACK, SEGMENT_BYTES, EnginesSettings, KafkaSettings, Settings, child_environment, host_port
from cryptoviz.settings.engine_tls import ServerIdentity

__all__ = ["EmbeddedKafka"]

_FORMAT_TIMEOUT_S = 60.0
_DATA = "data"
_LOCALE = {"LC_ALL": "C.UTF-8"}
# Listeners are named by their clients; their security protocol is a setting.
_CLIENTS, _CONTROLLER, _BROKER = "CLIENTS", "CONTROLLER", "BROKER"
_ON_LOOPBACK = EnginesSettings()

# Measured on 2 cores with 1.2 million records of 380 bytes produced and read: the C1 compiler alone takes half the CPU time (2.9 s instead of
# 5.5 s, since it saves more compile time than its slower code costs) and 176 MB PSS instead of 206, at the same rates. A 256 MB heap saves nothing.
_JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:+ExitOnOutOfMemoryError",
    # Otherwise a thread samples counters 20 times a second, for tools that read them from a file.
    "-XX:-UsePerfData",
    # By default a third of the heap, all of which is in use before each collection.
    "-Xmn24m",
    "-Xss512k",
    "-Djava.awt.headless=true",
    # File names are UTF-8, also on systems without a UTF-8 locale.
    "-Dfile.encoding=UTF-8",
    "-Dsun.jnu.encoding=UTF-8",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.server=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class EmbeddedKafka(EmbeddedEngine):
    """One broker and controller in one JVM, data in `home/kafka`. See `cryptoviz.engines.build.Engine` for the contract."""

    name = "kafka"

    def __init__(self, settings: Settings, java_options: Sequence[str] = (), *, identity: ServerIdentity | None = None) -> None:
        """`java_options`: instead of those that use the class archive."""
        super().__init__(settings, identity=identity)
        self._java_options = java_options
        self._admin = TopicAdmin(settings.kafka, settings.stream_topics, settings.topic_limits, lambda: self._killed)

    @property
    def folder(self) -> Path:
        """Configuration, cluster id and data. Also the working directory, because `log.dirs` splits paths at commas and the JVM decodes by locale."""
        return self._settings.home / "kafka"

    def ports(self) -> tuple[PortUse, ...]:
        return tuple(use for use in pipeline_ports(self._settings) if use.name.startswith("Kafka"))

    def command(self) -> Sequence[str]:
        """Write `server.properties`, format the storage at the first start, and return the broker's command."""
        java = java_executable()
        classpath = kafka_classpath(self._settings)
        data = self.folder / _DATA
        make_private(data)
        properties = self.folder / "server.properties"
        engines = self._settings.engines
        identity = self.identity() if engines.exposed else None
        write_private(properties, _render(server_properties(self._settings.kafka, engines, identity)))
        if not (data / "meta.properties").is_file():
            _format_storage(str(java), classpath, properties, _cluster_id(self.folder / "cluster.id"))
        heap = self._settings.kafka.heap_mb
        # Java ignores TMPDIR; compression libraries unpack native code there.
        memory = (f"-Xmx{heap}m", f"-Xms{min(heap, 128)}m", f"-Djava.io.tmpdir={tempfile.gettempdir()}")
        shared = self._java_options or archive_options(self._settings, "kafka", java, classpath)
        return [str(java), *memory, *_JVM_OPTIONS, *shared, "-cp", classpath, "kafka.Kafka", properties.name]

    def ask(self) -> tuple[str, Mapping[str, float]]:
        return self._admin.ask()

    def prepare(self) -> None:
        """Create missing topics, with retention limits, and partitions that the settings ask for in addition."""
        kafka = self._settings.kafka
        limits = {"retention.ms": str(kafka.retention_hours * 3_600_000), "retention.bytes": str(kafka.retention_bytes)}
        self._admin.ensure_topics(limits | {"segment.bytes": str(SEGMENT_BYTES)}, grow=True)

    def close(self) -> None:
        self._admin.close()

    def environment(self) -> dict[str, str]:
        """Fewer malloc arenas, because with glibc's default of 8 per core the JVM's many threads keep freed memory."""
        return child_environment({"MALLOC_ARENA_MAX": "2"} | _LOCALE)


def server_properties(
    kafka: KafkaSettings,
    engines: EnginesSettings = _ON_LOOPBACK,
    identity: ServerIdentity | None = None,
) -> dict[str, str]:
    """Configuration of the single node. With `identity`, clients connect by TLS, and the node to itself on loopback."""
    protocols = {_CLIENTS: kafka.security_protocol, _CONTROLLER: "SASL_PLAINTEXT" if identity else kafka.security_protocol}
    listeners = {_CLIENTS: host_port(engines.bind, kafka.port), _CONTROLLER: f"{LOOPBACK}:{kafka.controller_port}"}
    advertised = {_CLIENTS: host_port(engines.reached_at, kafka.port)}
    if identity:
        protocols[_BROKER] = "SASL_PLAINTEXT"
        listeners[_BROKER] = advertised[_BROKER] = f"{LOOPBACK}:{kafka.broker_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://{address}" for name, address in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": _BROKER if identity else _CLIENTS,
        "controller.listener.names": _CONTROLLER,
        **(_authentication(kafka, list(listeners)) if kafka.authenticated else {}),
        **(_certificate(identity) if identity else {}),
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{kafka.controller_port}",
        "log.dirs": _DATA,
        # A single node can hold one replica only.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        # The pipeline has few groups and transactional ids; the defaults of 50 partitions each cost start time and memory.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # Interval of the abort of dead producers' transactions; the default of 10 s would delay readers as long.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(kafka.max_record_bytes),
        "replica.fetch.max.bytes": str(kafka.max_record_bytes),
        "log.retention.hours": str(kafka.retention_hours),
        "log.retention.bytes": str(kafka.retention_bytes),
        "log.segment.bytes": str(SEGMENT_BYTES),
        # The default of 128 MiB is for far larger compacted topics.
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        "log.cleaner.threads": "1",
        # By default the controller writes an empty record every 0.5 s, for the monitoring of other nodes.
        "metadata.max.idle.interval.ms": "0",
        # Each thread wakes up three times a second.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "group.coordinator.threads": "1",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
    }


def _certificate(identity: ServerIdentity) -> dict[str, str]:
    """TLS of the clients' listener. Contains the key, so only for a private file."""
    options = {"type": "PEM", "key": identity.key, "certificate.chain": identity.certificate}
    return {f"listener.name.{_CLIENTS.lower()}.ssl.keystore.{name}": value for name, value in options.items()}


def _authentication(kafka: KafkaSettings, listeners: Sequence[str]) -> dict[str, str]:
    """SASL settings: all connections (clients, broker, controller) use one user. Contains the password, so only for a private file.

    PLAIN, because only this file determines the password: a changed password takes effect at the next start, with the same data.
    """
    password = require_password(kafka.sasl_password or SecretStr(""), "CRYPTOVIZ_KAFKA__SASL_PASSWORD")
    # The server's own credentials, and the accepted ones.
    login = {"username": kafka.sasl_username, "password": password, f"user_{kafka.sasl_username}": password}
    options = " ".join(f"{jaas_quoted(name)}={jaas_quoted(value)}" for name, value in login.items())
    module = f"org.apache.kafka.common.security.plain.PlainLoginModule required {options};"
    return {
        "sasl.enabled.mechanisms": kafka.sasl_mechanism,
        "sasl.mechanism.inter.broker.protocol": kafka.sasl_mechanism,
        "sasl.mechanism.controller.protocol": kafka.sasl_mechanism,
        **{f"listener.name.{name.lower()}.plain.sasl.jaas.config": module for name in listeners},
    }


def _render(properties: Mapping[str, str]) -> str:
    return "".join(f"{key}={''.join(map(_escaped, value))}\n" for key, value in properties.items())


def _escaped(character: str) -> str:
    """Escape for `java.util.Properties`, which reads Latin-1. Spaces are escaped too, since leading spaces would be dropped."""
    if character == "\\" or not "!" <= character <= "~":
        units = character.encode("utf-16-be")
        return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
    return character


def _cluster_id(path: Path) -> str:
    """The cluster id, generated once: 16 random bytes in Kafka's Uuid format (base64url without padding or leading dash)."""
    if path.is_file():
        return path.read_text(encoding="ascii").strip()
    made = "-"
    while made.startswith("-"):
        made = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")
    write_private(path, made + "\n")
    return made


def _format_storage(java: str, classpath: str, properties: Path, cluster_id: str) -> None:
    encodings = [option for option in _JVM_OPTIONS if ".encoding=" in option]
    command = [java, "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *encodings, "-cp", classpath, "kafka.tools.StorageTool"]
    arguments = ["format", "--standalone", "--ignore-formatted", "-t", cluster_id, "-c", properties.name]
    try:
        done = subprocess.run(
            bound_to_parent([*command, *arguments]), capture_output=True, text=True, errors="replace", timeout=_FORMAT_TIMEOUT_S, check=False,
            env=child_environment(_LOCALE), cwd=properties.parent, umask=OTHERS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(
            f"Kafka's storage was not formatted within {_FORMAT_TIMEOUT_S:.0f} s", engine="kafka", address=str(properties)
        ) from error
    if done.returncode != 0:
        message = f"cannot format Kafka's storage in {properties.parent}: {(done.stderr or done.stdout).strip()[-500:]}"
        raise PreflightError(message, problems=[message])
    get_logger("kafka").info("storage_formatted", folder=str(properties.parent), cluster_id=cluster_id)
