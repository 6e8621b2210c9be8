"""Names of the Docker Compose predecessor, mapped to settings, and the `.env` file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cryptoviz.errors import SettingsError
from cryptoviz.local.ownership import entry_fault, owner_or_root
from cryptoviz.providers.registry import BUILT_IN_SPECS
from cryptoviz.settings.network import shell_values

__all__ = ["DOTENV_ENCODING", "SEED_NAMES", "SeedNames", "ShellNames", "dotenv_lines", "read_dotenv", "require_text"]

DOTENV_ENCODING = "utf-8-sig"
"""UTF-8 with an optional byte order mark."""

SEED_NAMES: dict[str, tuple[str, ...]] = {
    **{spec.key_variable: ("providers", spec.name, "api_key") for spec in BUILT_IN_SPECS if spec.key_variable},
    "MINIO_ROOT_USER": ("s3", "access_key"),
    "MINIO_ROOT_PASSWORD": ("s3", "secret_key"),
    "REDPANDA_BROKERS": ("kafka", "bootstrap_servers"),
}
"""Names of the predecessor, with the path of the corresponding setting."""


def require_text(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for a setting in the environment that is not UTF-8. Its value is not shown, because it may be a key."""
    for name, value in environment.items():
        if name.upper().startswith("CRYPTOVIZ_") or name in SEED_NAMES:
            try:
                value.encode()
            except UnicodeEncodeError:
                setting = "__".join(SEED_NAMES[name]).upper() if name in SEED_NAMES else name.upper().removeprefix("CRYPTOVIZ_")
                meant = f" (it sets CRYPTOVIZ_{setting})" if name in SEED_NAMES else ""
                raise SettingsError(f"{name} is not UTF-8{meant}", setting=f"CRYPTOVIZ_{setting}") from None


class SeedNames(PydanticBaseSettingsSource):
    """Settings source for the names of the predecessor."""

    # Placeholders in the predecessor's .env template: no key is set.
    _PLACEHOLDERS = frozenset({"", "your-api-key-here"})

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the base class's signature)
        """Unused: `__call__` returns all fields at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name, path in SEED_NAMES.items():
            value = (self._values.get(name) or "").strip()
            if value in self._PLACEHOLDERS:
                continue
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = value
        return tree


class ShellNames(SeedNames):
    """Settings source for the proxy variables of the shell."""

    def __call__(self) -> dict[str, Any]:
        return shell_values({name: value for name, value in self._values.items() if value is not None})


def read_dotenv(settings_cls: type[BaseSettings]) -> dict[str, str | None]:
    """Values of the `.env` file in the working directory; empty if there is none.

    Raises:
        SettingsError: another user can write the file, it is a named pipe, it is not UTF-8, or a line is invalid.
    """
    path = Path(str(settings_cls.model_config.get("env_file") or ""))
    if path.is_fifo():
        raise SettingsError(f"{path.absolute()} is a named pipe: valid is a file; remove it, or run the command in another folder", setting=str(path))
    if not path.is_file():
        return {}
    _require_own(path)
    try:
        with path.open(encoding=DOTENV_ENCODING) as file:
            for binding in parse_stream(file):
                # The library ignores such a line. Its content is not shown, because it may be a key.
                if binding.error or "\0" in binding.original.string:
                    message = f"{path.absolute()}: line {_line(binding)} cannot be read: valid is NAME=value, with quotes in pairs, or # comment"
                    raise SettingsError(message, setting=str(path))
        return dict(dotenv_values(path, encoding=DOTENV_ENCODING))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{path.absolute()} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise SettingsError(message, setting=str(path)) from None


def dotenv_lines(settings_cls: type[BaseSettings]) -> dict[str, int]:
    """The line of each name in `.env`; of repeated names the last, which takes effect."""
    path = Path(str(settings_cls.model_config.get("env_file") or ""))
    if not path.is_file():
        return {}
    with path.open(encoding=DOTENV_ENCODING) as file:
        return {binding.key: _line(binding) for binding in parse_stream(file) if binding.key}


def _line(binding: Binding) -> int:
    # The library counts preceding blank lines as part of a binding.
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _require_own(path: Path) -> None:
    """Refuse a `.env` that another user could have written: the working directory may be shared. Links and their targets are checked."""
    for found in (path.lstat(), path.stat()):
        if fault := entry_fault(path.absolute(), found, owner_or_root()):
            what = f"{fault.path} {fault.what}, so its settings are ignored"
            raise SettingsError(
                f"{what}: run the command in another folder or, if you trust the file, make it yours (chown, chmod go-w)", setting=str(path)
            )
