"""Passing of settings from a parent process to a child."""

from __future__ import annotations

import json
from pathlib import Path

import certifi
import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.settings import dump_settings_file, load_settings, load_settings_file, settings_from_environment

CANARY = "canary-51f3"


def test_all_settings_including_secrets_are_passed_to_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        "demo",
        home=tmp_path / "home",
        s3={"secret_key": CANARY},
        crypto_list=("BTC", "DOGE"),
        extra_assets=[{"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"coingecko": "dogecoin"}}],
        network={"ca_file": certifi.where()},
    )
    path = tmp_path / "run" / "settings.json"
    dump_settings_file(settings, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["settings.json"]
    # The environment is ignored: the parent has read it already.
    monkeypatch.setenv("CRYPTOVIZ_KAFKA__PORT", "1")
    monkeypatch.setenv("CRYPTO_LIST", "ETH")
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINGECKO__TIMEOUT_S", "1")
    loaded = load_settings_file(path)
    assert loaded.model_dump() == settings.model_dump()
    assert loaded.s3.secret_key.get_secret_value() == CANARY
    assert [asset.symbol for asset in loaded.assets] == ["BTC", "DOGE"]
    assert CANARY not in repr(loaded)


def test_the_variable_contains_the_path_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.json"
    dump_settings_file(load_settings("demo", home=tmp_path), path)
    monkeypatch.setenv("CRYPTOVIZ_SETTINGS_FILE", str(path))
    assert settings_from_environment().profile == "demo"
    monkeypatch.delenv("CRYPTOVIZ_SETTINGS_FILE")
    assert settings_from_environment().profile == "live"


@pytest.mark.parametrize("content", [None, "", "{", "[]", json.dumps({"kafka": {"port": CANARY}}), json.dumps({"profile": CANARY})])
def test_an_invalid_file_is_reported_without_its_content(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.json") as caught:
        load_settings_file(path)
    assert CANARY not in str(caught.value)
