"""Settings of a clean environment, and the errors of settings that are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.settings import load_settings

__all__ = ["forget_settings", "refused"]


def forget_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove all settings of the developer's environment (our names, the predecessor's, proxies) and change to `folder`, which has no `.env`."""
    for name in list(os.environ):
        if name.startswith(("CRYPTOVIZ_", "CRYPTO_LIST", "COIN", "MINIO_", "REDPANDA_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)


def refused(profile: Literal["live", "demo"] = "live", **settings: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(profile, **settings)
    return caught.value
