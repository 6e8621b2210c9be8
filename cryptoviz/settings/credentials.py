"""Generated passwords of the embedded engines: created at the first start and stored in one file below `home`.

A password set by the user takes precedence. External engines never receive a generated password.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from cryptoviz.errors import SettingsError
from cryptoviz.local.home import claim
from cryptoviz.local.private import claim_folder, require_own_file, write_once
from cryptoviz.settings.engine_tls import make_authority, with_authorities

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["Credentials", "claim_home", "credentials_file", "read_credentials", "with_credentials"]

_HOME = "CRYPTOVIZ_HOME"
_BYTES = 32
"""256 bits."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A generated password for each embedded engine."""

    s3_secret_key: str
    redis_password: str
    kafka_password: str

    @classmethod
    def generate(cls) -> Self:
        """New passwords, of characters that need no escape in a URL, properties file or shell."""
        return cls(*(secrets.token_hex(_BYTES) for _ in range(3)))


def credentials_file(settings: Settings) -> Path:
    """The file with the passwords; mode 0600."""
    return settings.home / "credentials.json"


def claim_home(settings: Settings) -> Settings:
    """Mark `home`, make it private, generate missing passwords and a certificate authority if needed, and return the settings with them.

    Idempotent and safe for concurrent processes. Existing data stay accessible after new passwords are generated.

    Raises:
        SettingsError: other users can access `home` or the file with the passwords, or it cannot be used.
    """
    claim(settings.home)
    claim_folder(settings.home, _HOME)
    path = credentials_file(settings)
    if not path.is_symlink() and not path.exists():
        write_once(path, json.dumps(asdict(Credentials.generate())) + "\n")
    make_authority(settings)
    return with_authorities(with_credentials(settings, read_credentials(settings)))


def read_credentials(settings: Settings) -> Credentials | None:
    """The stored passwords; None before the first start. Raises SettingsError if the file cannot be used."""
    path = credentials_file(settings)
    try:
        require_own_file(path, _HOME)
        found = Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror} ({_HOME})", setting=_HOME) from None
    except (TypeError, ValueError):
        raise SettingsError(
            f"{path} does not contain the engines' passwords: remove it while the pipeline is stopped, and new ones are generated", setting=_HOME
        ) from None
    if not all(isinstance(each, str) and each for each in asdict(found).values()):
        raise SettingsError(f"{path} lacks a password: remove it while the pipeline is stopped, and new ones are generated", setting=_HOME)
    return found


def with_credentials(settings: Settings, found: Credentials | None) -> Settings:
    """The settings with a generated password for each embedded engine without a password set by the user."""
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
