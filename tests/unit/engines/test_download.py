"""Downloads from a real HTTP server: complete, resumed, interrupted, corrupt."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cryptoviz.engines.download import download_jars
from cryptoviz.engines.jars import Jar
from cryptoviz.errors import DownloadError, EngineUnavailable
from cryptoviz.settings import DownloadSettings
from tests.support.ports import free_port
from tests.unit.engines.maven import Repository, jar_of, serving


class Recorder:
    """Sums the reported progress."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0
        self.ended = False

    def begin(self, what: str, total: int, unit: str = "MB") -> None:
        self.total = total

    def advance(self, what: str, amount: int) -> None:
        self.done += amount

    def end(self, what: str) -> None:
        self.ended = True

    def say(self, text: str) -> None:
        raise AssertionError(text)


CONTENT = random.Random(7).randbytes(700_000)
PATH = "org/example/thing/1.0/thing-1.0.jar"
JAR = jar_of(PATH, CONTENT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jars" / "set"


def fetch(repository: Repository, folder: Path, *jars: Jar) -> Recorder:
    recorder = Recorder()
    settings = DownloadSettings(maven_url=repository.url, parallel=3)
    download_jars(jars or (JAR,), folder, settings, recorder, "things", first_wait_s=0.001)
    return recorder


def leave_piece(folder: Path, piece: bytes) -> Path:
    part = folder.with_name(folder.name + ".part") / f"{JAR.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(piece)
    return part


def test_several_files_arrive_whole_and_alone_in_their_folder(folder: Path) -> None:
    files = {f"org/example/t{n}/1/t{n}-1.jar": random.Random(n).randbytes(1000 * (n + 1)) for n in range(9)}
    with serving(Repository(files)) as repository:
        recorder = fetch(repository, folder, *(jar_of(path, content) for path, content in files.items()))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {path.rpartition("/")[2]: content for path, content in files.items()}
    assert [path.name for path in folder.parent.iterdir()] == ["set"]
    assert recorder.ended
    assert recorder.done == recorder.total == 45_000


def test_an_interrupted_download_asks_for_the_rest_only(folder: Path) -> None:
    leave_piece(folder, CONTENT[:400_000])
    with serving(Repository({PATH: CONTENT})) as repository:
        recorder = fetch(repository, folder)
    assert repository.asked == [(PATH, "bytes=400000-")]
    assert repository.sent == 300_000
    assert (folder / JAR.name).read_bytes() == CONTENT
    assert recorder.done == 700_000


def test_a_broken_download_is_resumed(folder: Path) -> None:
    with serving(Repository({PATH: CONTENT}, break_after=[300_000, 100_000])) as repository:
        recorder = fetch(repository, folder)
    assert [wanted for _, wanted in repository.asked] == [None, "bytes=300000-", "bytes=400000-"]
    assert (folder / JAR.name).read_bytes() == CONTENT
    assert recorder.done == 700_000


def test_a_server_without_ranges_sends_all_again(folder: Path) -> None:
    leave_piece(folder, CONTENT[:400_000])
    with serving(Repository({PATH: CONTENT}, ranges=False)) as repository:
        recorder = fetch(repository, folder)
    assert (folder / JAR.name).read_bytes() == CONTENT
    assert recorder.done == 700_000


def test_a_finished_piece_is_not_fetched_again(folder: Path) -> None:
    leave_piece(folder, CONTENT)
    with serving(Repository({PATH: CONTENT})) as repository:
        fetch(repository, folder)
    assert repository.asked == []
    assert (folder / JAR.name).read_bytes() == CONTENT


@pytest.mark.parametrize("piece", [b"x" * 400_000, b"x" * 700_000, b"x" * 900_000])
def test_a_piece_of_another_file_is_thrown_away_once(folder: Path, piece: bytes) -> None:
    leave_piece(folder, piece)
    with serving(Repository({PATH: CONTENT})) as repository:
        fetch(repository, folder)
    assert (folder / JAR.name).read_bytes() == CONTENT


@pytest.mark.parametrize("served", [CONTENT[:-1] + b"?", CONTENT + b"more"], ids=["changed", "longer"])
def test_corrupt_content_is_named_and_removed(folder: Path, served: bytes) -> None:
    with serving(Repository({PATH: served})) as repository, pytest.raises(DownloadError) as caught:
        fetch(repository, folder)
    assert caught.value.url == f"{repository.url}/{PATH}"
    assert caught.value.expected == JAR.sha256
    assert len(caught.value.received) == 64
    assert caught.value.received != JAR.sha256
    for fact in (caught.value.url, caught.value.expected, caught.value.received, "CRYPTOVIZ_DOWNLOADS__MAVEN_URL"):
        assert fact in str(caught.value)
    assert [path for path in folder.parent.rglob("*") if path.is_file()] == []


def test_good_files_beside_a_corrupt_one_are_kept(folder: Path) -> None:
    good = {f"g/{n}.jar": bytes([n]) * 5000 for n in range(3)}
    with serving(Repository(good | {PATH: b"bad"})) as repository, pytest.raises(DownloadError):
        fetch(repository, folder, *(jar_of(path, content) for path, content in good.items()), jar_of(PATH, b"BAD"))
    assert not (folder / JAR.name).exists()
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert kept.items() <= {path[2:]: content for path, content in good.items()}.items()


def test_a_busy_server_is_asked_again(folder: Path) -> None:
    with serving(Repository({PATH: CONTENT}, statuses=[503, 429, 500])) as repository:
        fetch(repository, folder)
    assert len(repository.asked) == 4
    assert (folder / JAR.name).read_bytes() == CONTENT


def test_a_server_that_stays_busy_keeps_what_came(folder: Path) -> None:
    part = leave_piece(folder, CONTENT[:400_000])
    with serving(Repository({PATH: CONTENT}, statuses=[503] * 50)) as repository, pytest.raises(EngineUnavailable, match=r"400,000 of 700,000"):
        fetch(repository, folder)
    assert len(repository.asked) == 5
    assert part.read_bytes() == CONTENT[:400_000]


def test_a_missing_file_is_not_asked_for_again(folder: Path) -> None:
    with serving(Repository({})) as repository, pytest.raises(DownloadError, match="status 404"):
        fetch(repository, folder)
    assert len(repository.asked) == 1


def test_an_absent_server_is_named_with_the_setting(folder: Path) -> None:
    nowhere = Repository({}, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EngineUnavailable, match="CRYPTOVIZ_DOWNLOADS__MAVEN_URL") as caught:
        fetch(nowhere, folder)
    assert nowhere.url in str(caught.value)
