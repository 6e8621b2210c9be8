"""The home and the generated passwords: owner, access, and the settings that they fill."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.settings import claim_home, credentials_file, dump_settings_file, load_settings, load_settings_file
from cryptoviz.settings.origin import setting_sources

WELL_KNOWN = "cryptoviz2024"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings of the developer's environment; there is no `.env`."""
    for name in list(os.environ):
        if name.startswith(("CRYPTOVIZ_", "MINIO_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_before_the_first_start_there_is_no_password_and_reading_settings_makes_nothing(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    assert settings.s3.secret_key.get_secret_value() == ""
    assert settings.redis.url == "redis://127.0.0.1:6379/0"
    assert list(tmp_path.iterdir()) == []


def test_the_first_start_makes_passwords_that_every_later_reader_finds(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = claim_home(load_settings(home=home))
    key, url = first.s3.secret_key.get_secret_value(), first.redis.url
    assert len(key) == 64
    assert key != WELL_KNOWN
    assert url == f"redis://:{first.redis.password.get_secret_value()}@127.0.0.1:6379/0"
    assert first.kafka.sasl_password is not None
    assert (first.kafka.security_protocol, first.kafka.sasl_username) == ("SASL_PLAINTEXT", "cryptoviz")
    assert len({key, first.redis.password.get_secret_value(), first.kafka.sasl_password.get_secret_value()}) == 3
    assert mode(home) == 0o700
    assert mode(credentials_file(first)) == 0o600
    assert claim_home(load_settings(home=home)) == first
    assert load_settings(home=home) == first
    sources = setting_sources(first)
    assert sources["s3.secret_key"] == sources["redis.password"] == sources["redis.url"] == f"generated: {credentials_file(first)}"
    path = home / "run" / "settings.json"
    dump_settings_file(first, path)
    assert load_settings_file(path).redis.url == url


def test_two_homes_have_passwords_of_their_own(tmp_path: Path) -> None:
    one, other = (claim_home(load_settings(home=tmp_path / name)) for name in ("one", "other"))
    assert one.s3.secret_key != other.s3.secret_key
    assert one.redis.password != other.redis.password


def test_what_the_user_sets_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_ROOT_USER", "ada")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "lovelace-1843")
    monkeypatch.setenv("CRYPTOVIZ_REDIS__PASSWORD", "p@ss/word:1")
    settings = claim_home(load_settings(home=tmp_path / "home"))
    assert (settings.s3.access_key, settings.s3.secret_key.get_secret_value()) == ("ada", "lovelace-1843")
    assert settings.redis.url == "redis://:p%40ss%2Fword%3A1@127.0.0.1:6379/0"


def test_an_engine_of_the_users_gets_no_password_of_ours(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "s3": {"endpoint": "http://s3.example:9000"},
        "redis": {"url": "redis://redis.example:6379/0"},
        "kafka": {"bootstrap_servers": "kafka.example:9092"},
    }
    settings = claim_home(load_settings(home=tmp_path / "home", **given))
    assert settings.s3.secret_key.get_secret_value() == ""
    assert settings.redis.url == "redis://redis.example:6379/0"
    assert (settings.kafka.security_protocol, settings.kafka.sasl_username, settings.kafka.sasl_password) == ("PLAINTEXT", "", None)
    with_own = claim_home(load_settings(home=tmp_path / "home", redis={"url": "redis://redis.example:6379/0", "password": "theirs"}))
    assert with_own.redis.url == "redis://:theirs@redis.example:6379/0"


def test_of_starts_at_once_all_have_the_same_passwords(tmp_path: Path) -> None:
    home, barrier = tmp_path / "home", threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        barrier.wait(60)
        found.append(claim_home(load_settings(home=home)).redis.url)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert {path.name for path in home.iterdir()} == {".cryptoviz-home", "credentials.json"}


def test_an_open_home_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o777)
    claim_home(load_settings(home=home))
    assert mode(home) == 0o700


@pytest.mark.parametrize("made", ["/", "own", "file", "stranger"])
def test_a_home_that_cannot_be_ours_alone_is_refused_by_name(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("/") if made == "/" else tmp_path / "home"
    if made == "own":
        home.mkdir(mode=0o755)
        monkeypatch.setenv("HOME", str(home))
    if made == "file":
        home.write_text("")
    if made == "stranger":
        home.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: home.stat().st_uid + 1)
    before = None if made == "file" else mode(home)
    with pytest.raises(SettingsError, match="CRYPTOVIZ_HOME") as refused:
        claim_home(load_settings(home=home))
    assert str(home) in refused.value.message
    assert before is None or mode(home) == before
    assert not (home / "credentials.json").exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"s3_secret_key": "a"}', '{"s3_secret_key": "a", "redis_password": "", "kafka_password": "c"}'])
def test_a_damaged_file_is_named_and_shows_nothing(damage: str, tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home"))
    credentials_file(settings).write_text(damage)
    with pytest.raises(SettingsError, match="remove it while the pipeline is stopped") as refused:
        load_settings(home=tmp_path / "home")
    assert str(credentials_file(settings)) in refused.value.message
    credentials_file(settings).unlink()
    assert len(claim_home(load_settings(home=tmp_path / "home")).s3.secret_key.get_secret_value()) == 64


def test_a_file_that_others_may_read_or_that_leads_elsewhere_is_not_believed(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home"))
    path = credentials_file(settings)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        load_settings(home=tmp_path / "home")
    path.chmod(0o600)
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"s3_secret_key": "planted", "redis_password": "planted", "kafka_password": "planted"}))
    elsewhere.chmod(0o600)
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(SettingsError, match="not a regular file"):
        claim_home(load_settings(home=tmp_path / "other-home").model_copy(update={"home": tmp_path / "home"}))
