"""The build of MinIO with a fake Go that records its calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cryptoviz.engines import minio_build
from cryptoviz.errors import DownloadError, EngineUnavailable, PreflightError
from cryptoviz.settings import Settings, load_settings
from tests.support.silent_progress import SilentProgress

GO = """#!{python}
import json, os, pathlib, sys
script = json.loads({script!r})
if sys.argv[1] == "version":
    print(script["version"])
elif sys.argv[1:4] == ["mod", "download", "-json"]:
    print(json.dumps(script["module"]))
    sys.exit("Error" in script["module"])
else:
    pathlib.Path(script["asked"]).write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
    for line in script["lines"]:
        print(line, file=sys.stderr)
    if script["code"] == 0:
        target = pathlib.Path(os.environ["GOBIN"])
        target.mkdir(parents=True)
        (target / "minio").write_text("built")
    sys.exit(script["code"])
"""


class Counter(SilentProgress):
    """Counts packages."""

    def __init__(self) -> None:
        self.packages = 0

    def advance(self, what: str, amount: int) -> None:
        self.packages += amount


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cache=tmp_path / "cache", home=tmp_path / "home")


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    return folder / "go"


PYTHON = sys.executable


def install(go: Path, **changes: object) -> Path:
    script = {
        "version": "go version go1.26.8 linux/amd64",
        "module": {"Sum": minio_build.MINIO_SUM},
        "asked": str(go.with_name("asked.json")),
        "lines": ["go: downloading github.com/minio/minio", "internal/cpu", "github.com/minio/minio"],
        "code": 0,
    }
    go.write_text(GO.format(python=PYTHON, script=json.dumps(script | changes)))
    go.chmod(0o755)
    return Path(str(script["asked"]))


def test_the_program_is_built_into_the_cache_and_nothing_else_stays(settings: Settings, go: Path) -> None:
    asked, counter = install(go), Counter()
    program = minio_build.build_minio(settings, counter)
    assert program == minio_build.minio_program(settings)
    assert program.read_text() == "built"
    assert {path.name for path in (settings.cache / "minio").iterdir()} == {minio_build.MINIO_VERSION}
    assert counter.packages == 2
    arguments, environment = json.loads(asked.read_text())
    assert arguments[0] == "install"
    assert arguments[-1] == f"github.com/minio/minio@{minio_build.MINIO_VERSION}"
    assert environment["CGO_ENABLED"] == "0"
    for folder in ("GOBIN", "GOCACHE", "GOMODCACHE", "GOPATH"):
        assert environment[folder].startswith(str(settings.cache))


def test_another_source_than_the_pinned_one_is_not_built(settings: Settings, go: Path) -> None:
    asked = install(go, module={"Sum": "h1:other="})
    with pytest.raises(DownloadError) as caught:
        minio_build.build_minio(settings, SilentProgress())
    assert (caught.value.expected, caught.value.received) == (minio_build.MINIO_SUM, "h1:other=")
    assert not asked.exists()
    assert not minio_build.minio_program(settings).exists()


def test_an_unreachable_proxy_is_reported(settings: Settings, go: Path) -> None:
    install(go, module={"Error": "dial tcp: no route to host"})
    with pytest.raises(EngineUnavailable, match="no route to host"):
        minio_build.build_minio(settings, SilentProgress())


def test_a_failed_build_ends_with_the_compilers_words(settings: Settings, go: Path) -> None:
    install(go, code=2, lines=["internal/cpu", "cmd/x.go:1: undefined: y"])
    with pytest.raises(EngineUnavailable, match=r"(?s)go install exited with 2.*undefined: y"):
        minio_build.build_minio(settings, SilentProgress())
    assert not minio_build.minio_program(settings).exists()


@pytest.mark.parametrize("version", ["go version go1.19.8 linux/amd64", "what?"])
def test_an_old_go_is_refused(settings: Settings, go: Path, version: str) -> None:
    install(go, version=version)
    with pytest.raises(PreflightError, match=r"requires Go 1\.24 or newer"):
        minio_build.build_minio(settings, SilentProgress())


def test_the_wheels_go_stands_in_for_an_old_one(settings: Settings, go: Path, tmp_path: Path) -> None:
    install(go, version="go version go1.19.8 linux/amd64")
    wheel = tmp_path / "venv" / "bin" / "go"
    wheel.parent.mkdir(parents=True)
    install(wheel)
    assert minio_build.find_go() == wheel
