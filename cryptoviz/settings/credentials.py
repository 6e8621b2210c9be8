"""The passwords of the embedded engines: made at the first start, kept in one file below `home`, and found there by every later reader.

Where the user sets a password, that one is used; an engine of the user's never gets one of ours.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from cryptoviz.errors import SettingsError
from cryptoviz.home import claim
from cryptoviz.private import claim_folder, require_own_file, write_once

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["Credentials", "claim_home", "credentials_file", "read_credentials", "with_credentials"]

_HOME = "CRYPTOVIZ_HOME"
_BYTES = 32
"""256 bits: not to be guessed."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One generated password for each engine that we start."""

    s3_secret_key: str
    redis_password: str
    kafka_password: str

    @classmethod
    def generate(cls) -> Self:
        """New ones, of characters that need no escape in a URL, a properties file or a shell."""
        return cls(*(secrets.token_hex(_BYTES) for _ in range(3)))


def credentials_file(settings: Settings) -> Path:
    """Where they lie; mode 0600."""
    return settings.home / "credentials.json"


def claim_home(settings: Settings) -> Settings:
    """Mark `home`, close it to others, generate the passwords that it lacks, and return the settings with them.

    Safe to repeat, and from two processes at once. The passwords say nothing about the data: new ones open the same data again.

    Raises:
        SettingsError: `home` or the file with the passwords is not ours alone, or cannot be used.
    """
    claim(settings.home)
    claim_folder(settings.home, _HOME)
    path = credentials_file(settings)
    if not path.is_symlink() and not path.exists():
        write_once(path, json.dumps(asdict(Credentials.generate())) + "\n")
    return with_credentials(settings, read_credentials(settings))


def read_credentials(settings: Settings) -> Credentials | None:
    """What an earlier start generated; None before the first. Raises SettingsError when the file cannot be used."""
    path = credentials_file(settings)
    try:
        require_own_file(path, _HOME)
        found = Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror} ({_HOME})", setting=_HOME) from None
    except (TypeError, ValueError):
        raise SettingsError(f"{path} does not hold the engines' passwords: remove it while nothing runs, for new ones", setting=_HOME) from None
    if not all(isinstance(each, str) and each for each in asdict(found).values()):
        raise SettingsError(f"{path} lacks a password: remove it while nothing runs, for new ones", setting=_HOME)
    return found


def with_credentials(settings: Settings, found: Credentials | None) -> Settings:
    """The settings with a generated password for each embedded engine that the user gave none."""
    if found is None:
        return settings
    changed: dict[str, object] = {}
    if settings.s3.embedded and not settings.s3.secret_key.get_secret_value():
        changed["s3"] = settings.s3.model_copy(update={"secret_key": SecretStr(found.s3_secret_key)})
    if settings.redis.embedded and not settings.redis.password.get_secret_value():
        changed["redis"] = settings.redis.with_password(found.redis_password)
    kafka = settings.kafka
    if kafka.embedded and kafka.authenticated and not (kafka.sasl_password and kafka.sasl_password.get_secret_value()):
        changed["kafka"] = kafka.model_copy(update={"sasl_password": SecretStr(found.kafka_password)})
    return settings.model_copy(update=changed) if changed else settings
