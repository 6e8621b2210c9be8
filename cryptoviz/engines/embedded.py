"""Base class of embedded engines: one child process, a check for free ports, and a wait until the engine answers."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import SecretStr

from cryptoviz.components import Probe
from cryptoviz.engines.ports import PortUse, is_free, require_free
from cryptoviz.engines.process import ChildProcess
from cryptoviz.errors import CryptoVizError, EngineUnavailable, PreflightError, SettingsError, TerminalError
from cryptoviz.local.home_lock import HomeLock, engine_lock
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings, child_environment, claim_home
from cryptoviz.settings.engine_tls import ServerIdentity, server_identity
from cryptoviz.telemetry.log_files import log_path

__all__ = ["EmbeddedEngine", "require_password"]

# A just killed predecessor holds its ports at most this long.
_PORT_WAIT_S = 5.0
_POLL_S = 0.1


class EmbeddedEngine(ABC):
    """An engine run as a child process. Subclasses define command and ping; see `cryptoviz.engines.build.Engine` for the contract."""

    name: str
    start_timeout_s: float = 60.0

    def __init__(self, settings: Settings, *, identity: ServerIdentity | None = None) -> None:
        """`identity`: certificate beyond loopback; by default `server_identity`."""
        self._settings = settings
        self._identity = identity
        self._child: ChildProcess | None = None
        self._prepared = False
        self._killed = False
        self._lock: HomeLock | None = None

    @property
    def url(self) -> str | None:
        return None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        child = self._child
        if child is None or not child.running:
            self._prepared = False
            self._child = child = self._launch()
            if self._killed:
                self.stop(0.0)
                raise EngineUnavailable(f"{self.name} was killed during its start", engine=self.name)
        if self._prepared:
            return
        try:
            self._await_answer(child)
            self.prepare()
        except TerminalError:
            self.stop()  # it runs with settings that must be changed first
            raise
        self._prepared = True

    def stop(self, grace_s: float = 10.0) -> None:
        self._prepared = False
        self.close()
        if self._child is not None:
            self._child.stop(grace_s)
        self._child = None
        self._killed = False
        self._let_go()

    def kill(self) -> None:
        self._killed = True  # before the look: a start that continues in another thread may have its process only later
        child = self._child
        if child is not None:
            child.stop(0.0)

    def probe(self) -> Probe:
        child = self._child
        if child is None:
            return Probe(running=False, healthy=False, message="not started")
        code = child.poll()
        if code is not None:
            return Probe(running=False, healthy=False, message=f"exited with code {code}: {child.tail(1)}")
        began = time.monotonic()
        try:
            message, metrics = self.ask()
        except CryptoVizError as error:
            return Probe(running=True, healthy=False, message=error.message, pid=child.pid, url=self.url)
        metrics = {"answer_ms": round((time.monotonic() - began) * 1000, 1), **_memory(child.pid), **metrics}
        return Probe(running=True, healthy=True, message=message, metrics=metrics, pid=child.pid, url=self.url)

    @abstractmethod
    def ports(self) -> tuple[PortUse, ...]:
        """Ports that the engine listens on."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Program and arguments. Writes the configuration and formats the storage first, if needed. Raises PreflightError."""

    @abstractmethod
    def ask(self) -> tuple[str, Mapping[str, float]]:
        """Ping in the engine's own protocol, within 2 s: a human-readable line and figures. Raises EngineUnavailable."""

    @abstractmethod
    def prepare(self) -> None:
        """Create topics or buckets; idempotent. Raises EngineUnavailable, SettingsError."""

    def launched(self) -> None:  # noqa: B027 (most engines have nothing else to open)
        """Open what listens for the process, once it was started. Raises EngineUnavailable, SettingsError."""

    @property
    def folder(self) -> Path | None:
        """Working directory of the process. Relative file names need no escaping of special characters in the home's path."""
        return None

    def identity(self) -> ServerIdentity:
        """Its certificate beyond loopback. Raises SettingsError."""
        return self._identity or server_identity(self._settings)

    def environment(self) -> dict[str, str]:
        """Environment of the process. Never contains secrets, since crash reports and tools copy it."""
        return child_environment()

    @abstractmethod
    def close(self) -> None:
        """Close client connections."""

    def _launch(self) -> ChildProcess:
        deadline = time.monotonic() + _PORT_WAIT_S
        claim_home(self._settings)
        self._hold_data(deadline)
        child: ChildProcess | None = None
        try:
            wait = threading.Event()
            while not all(is_free(use.port, use.host) for use in self.ports()) and time.monotonic() < deadline:
                wait.wait(_POLL_S)
            require_free(self.ports())
            child = ChildProcess(self.name, self.command(), log_path(self._settings, self.name), self.environment(), self.folder)
            child.start()
            self.launched()
        except BaseException:
            self.close()
            if child is not None:
                child.stop(0.0)
            self._let_go()
            raise
        return child

    def _hold_data(self, deadline: float) -> None:
        """Take the data lock, since two engines would destroy their data. Waits for a predecessor that is being killed."""
        wait = threading.Event()
        while self._lock is None:
            lock = engine_lock(self._settings.home, self.name)
            try:
                lock.acquire()
            except PreflightError as error:
                if time.monotonic() > deadline:
                    raise EngineUnavailable(f"cannot start {self.name}: {error}", engine=self.name, address=str(self._settings.home)) from None
                wait.wait(_POLL_S)
            else:
                self._lock = lock

    def _let_go(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _await_answer(self, child: ChildProcess) -> None:
        wait = threading.Event()
        began = time.monotonic()
        while True:
            why = f"it exited with code {child.poll()}"
            if child.running:
                try:
                    self.ask()
                    break
                except EngineUnavailable as error:
                    why = error.message
            if not child.running or time.monotonic() - began > self.start_timeout_s:
                # A slow engine (log recovery after a crash) keeps running: the next start waits for it again.
                text = f"{self.name} did not start: {why}. Its log ends:\n{child.tail()}"
                raise EngineUnavailable(text, engine=self.name, address=", ".join(f"{use.host}:{use.port}" for use in self.ports()))
            wait.wait(_POLL_S)
        get_logger(self.name).info("answers", after_s=round(time.monotonic() - began, 2), pid=child.pid)


def require_password(given: SecretStr, setting: str) -> str:
    """The password of an engine. Raises SettingsError when it is empty: engines never start without a password."""
    password = given.get_secret_value()
    if not password:
        raise SettingsError(f"{setting} is empty; passwords are generated when the home is claimed, before anything starts", setting=setting)
    return password


def _memory(pid: int | None) -> dict[str, float]:
    try:
        return {} if pid is None else {"rss_mb": round(psutil.Process(pid).memory_info().rss / 2**20, 1)}
    except psutil.Error:
        return {}
