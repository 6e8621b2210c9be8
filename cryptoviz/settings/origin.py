"""Source of each effective setting, for `cryptoviz config`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, SecretStr

from cryptoviz.settings.credentials import credentials_file, read_credentials
from cryptoviz.settings.network import SHELL_NAMES
from cryptoviz.settings.seed_names import SEED_NAMES, read_dotenv
from cryptoviz.settings.tree import Settings, load_settings

__all__ = ["setting_sources"]


def setting_sources(settings: Settings) -> dict[str, str]:
    """Source by dotted path of each setting that differs from its default: environment variable, name in `.env`, generated password, or the demo."""
    origins: dict[str, str] = {}
    dotenv = read_dotenv(Settings)
    flat = _flat(settings.model_dump())
    for path in flat:
        for where, names in (("environment", os.environ), (".env", dotenv)):
            name = _name_in(path, names)
            if name is not None:
                origins.setdefault(path, f"{where}: {name}")
    for path in _generated(settings, flat):
        origins.setdefault(path, f"generated: {credentials_file(settings)}")
    if settings.profile == "demo":
        live = _flat(load_settings("live").model_dump())
        for path, value in flat.items():
            if path not in origins and live.get(path) != value:
                origins[path] = "demo"
    return origins


def _generated(settings: Settings, flat: dict[str, Any]) -> list[str]:
    """Settings with a generated password."""
    made = read_credentials(settings)
    secrets = set(asdict(made).values()) if made is not None else set()
    held = [path for path, value in flat.items() if isinstance(value, SecretStr) and value.get_secret_value() in secrets]
    return [*held, "redis.url"] if "redis.password" in held else held


def _name_in(path: str, names: Mapping[str, str | None]) -> str | None:
    ours = "CRYPTOVIZ_" + path.upper().replace(".", "__")
    present = {name.upper() for name in names}
    if ours in present:
        return ours
    for section, field in _ancestors(path):
        value = next((text for name, text in names.items() if name.upper() == section), None)
        if value is not None and _has(value, field):
            return section
    flat = (*((name, path_of, present) for name, path_of in SEED_NAMES.items()), *((name, path_of, names) for name, path_of in SHELL_NAMES.items()))
    return next((name for name, path_of, where in flat if ".".join(path_of) == path and name in where), None)


def _ancestors(path: str) -> Iterator[tuple[str, list[str]]]:
    """Names of the sections and tables that a setting is in, the innermost first, with the rest of its path."""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        yield "CRYPTOVIZ_" + "__".join(parts[:depth]).upper(), parts[depth:]


def _has(text: str, path: list[str]) -> bool:
    """Whether a section given as JSON has the setting."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, BaseModel):
        tree = tree.model_dump()
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
