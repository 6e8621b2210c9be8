"""Where each effective setting came from, for `cryptoviz config`."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from cryptoviz.settings.seed_names import SEED_NAMES, read_dotenv
from cryptoviz.settings.tree import Settings, load_settings

__all__ = ["setting_sources"]


def setting_sources(settings: Settings) -> dict[str, str]:
    """Dotted path of each setting that no default explains, with its origin: an environment variable, a line of `.env`, or the demo."""
    origins: dict[str, str] = {}
    dotenv = read_dotenv(Settings)
    flat = _flat(settings.model_dump())
    for path in flat:
        for where, names in (("environment", os.environ), (".env", dotenv)):
            name = _name_in(path, names)
            if name is not None:
                origins.setdefault(path, f"{where}: {name}")
    if settings.profile == "demo":
        live = _flat(load_settings("live").model_dump())
        for path, value in flat.items():
            if path not in origins and live.get(path) != value:
                origins[path] = "demo"
    return origins


def _name_in(path: str, names: Collection[str]) -> str | None:
    ours = "CRYPTOVIZ_" + path.upper().replace(".", "__")
    present = {name.upper() for name in names}
    if ours in present:
        return ours
    for name, seed_path in SEED_NAMES.items():
        if ".".join(seed_path) == path and name in present:
            return name
    return None


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
