"""Homes with any valid folder name: the engines' data are below the home, and nothing is outside of it."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
import redis

from cryptoviz.settings import load_settings
from tests.integration.test_engines import consume, own_settings, produce, store
from tests.support.engines import engines
from tests.support.pipeline import running_demo

pytestmark = pytest.mark.integration

NAMES = ("José", "a,b", "with space", "100%25", "q'uo\"te", "back\\slash", "$HOME #1", "a{1...4}", "日本 🪙", "-x=y;z&", "[a]*?")


@pytest.mark.parametrize("name", NAMES)
def test_kafka_keeps_its_data_below_a_home_of_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Like a service manager or a minimal container: without a locale.
    for variable in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(variable, raising=False)
    settings = own_settings(tmp_path / name / "home")
    with engines(settings, "kafka") as (engine,):
        produce(settings, "crypto-streaming", [b"one"])
        engine.stop()
        engine.start()
        assert consume(settings, "crypto-streaming", 1) == [b"one"]
    data = settings.home / "kafka" / "data"
    assert (data / "meta.properties").is_file()
    assert list(data.glob("crypto-streaming-*/*.log"))
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert [each.name for each in (tmp_path / name).iterdir()] == ["home"]


@pytest.mark.parametrize("name", NAMES)
def test_object_store_and_redis_keep_their_data_below_a_home_of_any_name(tmp_path: Path, name: str) -> None:
    settings = own_settings(tmp_path / name / "home")
    with engines(settings, "object-store", "redis"):
        store(settings).put_object(settings.s3.lake_bucket, "one", io.BytesIO(b"1"), 1)
        with redis.Redis.from_url(**settings.redis.connection(60)) as client:
            client.set("one", b"1")
    assert (settings.home / "minio" / settings.s3.lake_bucket / "one" / "xl.meta").is_file()
    assert b"one" in b"".join(path.read_bytes() for path in (settings.home / "redis" / "appendonlydir").glob("*.aof"))
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert [each.name for each in (tmp_path / name).iterdir()] == ["home"]


@pytest.mark.long
def test_a_whole_demo_commits_rows_in_a_home_and_with_a_cache_of_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also Ray, Spark with its checkpoint, the jars' class path and the dashboard."""
    cache = tmp_path / "José's, 100% #cache"
    for name in ("jars", "minio"):  # links to the files only: a link to a folder would be resolved to the folder's name
        shutil.copytree(load_settings().cache / name, cache / name, copy_function=os.symlink, ignore=shutil.ignore_patterns("bench-*", ".build"))
    monkeypatch.setattr("tests.support.pipeline.EXTRA_ENVIRONMENT", {"CRYPTOVIZ_CACHE": str(cache)})
    home = tmp_path / "José a,b 100%25 'q' $x #1" / "home"
    with running_demo(home) as demo:
        assert demo.lake_rows_by_delta()
    assert {each.name for each in tmp_path.iterdir()} == {cache.name, home.parent.name}
    assert [each.name for each in home.parent.iterdir()] == ["home"]
