"""Persistence of the desired state."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.reconcile.desired_state import DesiredDocument, FileStore, RedisStore, SharedStore, build_store
from cryptoviz.components import DesiredState
from cryptoviz.settings import RedisSettings, load_settings
from cryptoviz.settings.secret_types import SecretUrl
from tests.support.control_fakes import MemoryStore
from tests.support.ports import free_port

DOCUMENT = DesiredDocument(3, {"kafka": DesiredState.RUNNING, "scraper/coingecko": DesiredState.STOPPED})


async def test_a_file_survives(tmp_path: Path) -> None:
    path = tmp_path / "control" / "desired.json"
    await FileStore(path).save(DOCUMENT)
    assert await FileStore(path).load() == DOCUMENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["desired.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"components": {"kafka": "MAYBE"}}', b"\xff\xfe", b'{"components": []}'])
async def test_a_missing_or_damaged_file_wants_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "desired.json"
    if content is not None:
        path.write_bytes(content)
    assert await FileStore(path).load() == DesiredDocument()


@pytest.mark.parametrize(("file", "copy", "wins"), [(3, 2, "file"), (2, 3, "copy"), (3, 3, "file")])
async def test_the_higher_revision_wins_and_the_file_at_a_tie(file: int, copy: int, wins: str) -> None:
    documents = {"file": DesiredDocument(file, {"a": DesiredState.RUNNING}), "copy": DesiredDocument(copy, {"b": DesiredState.RUNNING})}
    assert await SharedStore(MemoryStore(documents["file"]), MemoryStore(documents["copy"])).load() == documents[wins]


async def test_a_copy_that_is_away_stops_nothing(tmp_path: Path) -> None:
    away = RedisStore(RedisSettings(url=SecretUrl(f"redis://127.0.0.1:{free_port()}/0")), "key")
    store = SharedStore(FileStore(tmp_path / "desired.json"), away)
    await store.save(DOCUMENT)
    assert await store.load() == DOCUMENT


async def test_both_are_written() -> None:
    file, copy = MemoryStore(), MemoryStore()
    await SharedStore(file, copy).save(DOCUMENT)
    assert (file.saved, copy.saved) == ([DOCUMENT], [DOCUMENT])


def test_only_a_redis_of_ones_own_holds_a_copy(tmp_path: Path) -> None:
    assert isinstance(build_store(load_settings("live", home=tmp_path)), FileStore)
    assert isinstance(build_store(load_settings("live", home=tmp_path, redis={"url": "redis://elsewhere:6379/0"})), SharedStore)
