"""The flat names of the Docker Compose predecessor, mapped onto the tree, and the `.env` file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cryptoviz.errors import SettingsError
from cryptoviz.ownership import entry_fault, owner_or_root
from cryptoviz.providers.registry import BUILT_IN_SPECS
from cryptoviz.settings.network import shell_values

__all__ = ["DOTENV_ENCODING", "DOTENV_FILE", "SEED_NAMES", "SeedNames", "ShellNames", "dotenv_lines", "read_dotenv"]

DOTENV_FILE = ".env"
"""In the working directory."""
DOTENV_ENCODING = "utf-8-sig"
"""UTF-8; the mark that some editors put before it is not part of the first name."""

SEED_NAMES: dict[str, tuple[str, ...]] = {
    **{spec.key_variable: ("providers", spec.name, "api_key") for spec in BUILT_IN_SPECS if spec.key_variable},
    "MINIO_ROOT_USER": ("s3", "access_key"),
    "MINIO_ROOT_PASSWORD": ("s3", "secret_key"),
    "REDPANDA_BROKERS": ("kafka", "bootstrap_servers"),
}
"""The predecessor's names, and the path of the setting that each means."""


class SeedNames(PydanticBaseSettingsSource):
    """Maps the predecessor's flat names onto the tree."""

    # What the predecessor's .env template holds until a user fills it in: no key at all.
    _PLACEHOLDERS = frozenset({"", "your-api-key-here"})

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the base class's signature)
        """Unused: `__call__` answers for all fields at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The part of the tree that the names set."""
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
    """Maps the shell's usual names for a proxy onto the tree."""

    def __call__(self) -> dict[str, Any]:
        """The part of the tree that the names set."""
        return shell_values({name: value for name, value in self._values.items() if value is not None})


def read_dotenv(settings_cls: type[BaseSettings]) -> dict[str, str | None]:
    """What the `.env` file in the working directory sets; nothing without one.

    Raises:
        SettingsError: another user could have written it, it is not UTF-8 (a mark at its beginning is), or it holds a line that sets nothing.
    """
    path = Path(str(settings_cls.model_config.get("env_file") or ""))
    if not path.is_file():
        return {}
    _require_own(path)
    try:
        with path.open(encoding=DOTENV_ENCODING) as file:
            for binding in parse_stream(file):
                # The library leaves such a line out. What it holds is not shown: it may be a key.
                if binding.error or "\0" in binding.original.string:
                    message = f"{path.absolute()}: line {_line(binding)} cannot be read: valid is NAME=value, with quotes in pairs, or # comment"
                    raise SettingsError(message, setting=str(path))
        return dict(dotenv_values(path, encoding=DOTENV_ENCODING))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{path.absolute()} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise SettingsError(message, setting=str(path)) from None


def dotenv_lines(settings_cls: type[BaseSettings]) -> dict[str, int]:
    """The line on which `.env` sets each name; of several the last, which counts."""
    path = Path(str(settings_cls.model_config.get("env_file") or ""))
    if not path.is_file():
        return {}
    with path.open(encoding=DOTENV_ENCODING) as file:
        return {binding.key: _line(binding) for binding in parse_stream(file) if binding.key}


def _line(binding: Binding) -> int:
    # The library counts blank lines to what follows.
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _require_own(path: Path) -> None:
    """A command obeys the `.env` of the folder it is called in, which may be anybody's. A link counts by its owner and by what it names."""
    for found in (path.lstat(), path.stat()):
        if fault := entry_fault(path.absolute(), found, owner_or_root()):
            what = f"{fault.path} {fault.what}, so its settings are not taken"
            raise SettingsError(
                f"{what}: call the command in another folder, or, when you trust what it says, make it yours (chown, chmod go-w)", setting=str(path)
            )
