"""The notebook in examples/ and the examples of docs/lake.md run on a small lake and return its content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.settings import Settings
from tests.support.engines import object_store
from tests.support.records import TICK, record
from tests.support.stored_lake import StoredLake

pytestmark = [pytest.mark.integration]

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "lake.ipynb"
TICKS = 120
COINS = len(DEFAULT_ASSETS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two hours of all coins, the last tick from a fallback, one dead letter."""
    with object_store(tmp_path_factory.mktemp("examples")) as running:
        lake = StoredLake(running)
        lake.ticks(TICKS)
        last = TICK + TICKS * 60_000
        away = {"provider": "coinmarketcap", "role": "fallback", "fallback_reason": "timeout"}
        lake.stream([record(last, asset, **away).to_json() for asset in DEFAULT_ASSETS] + [b"garbage"], last)
        yield running


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment of a process that finds this lake without arguments."""
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(settings.home))
    monkeypatch.setenv("CRYPTOVIZ_S3__ENDPOINT", settings.s3.endpoint)
    monkeypatch.setenv("CRYPTOVIZ_S3__SECRET_KEY", settings.s3.secret_key.get_secret_value())
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


def test_the_notebook_runs_and_its_outputs_are_not_in_the_repository(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    NotebookClient(notebook, timeout=600, startup_timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {
        cell.id: "".join(str(output.get("text", "") or output.get("data", {}).get("text/plain", "")) for output in cell.outputs) for cell in code
    }
    everything = "\n".join(shown.values())
    assert "timeout" in everything
    assert "not_json" in everything
    rows = (TICKS + 1) * COINS
    known = (TICKS - 5) * COINS  # each `ingest_ts` is 250 ms after its tick
    assert re.search(rf"{rows} rows now; {known} were known at ", everything), everything
    assert "0.5" in shown[code[-1].id]  # each record's spread


def test_the_examples_of_the_page_run(settings: Settings) -> None:
    page = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 2
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "docs/lake.md", "exec"), names)
    assert isinstance(names["hour"], pl.DataFrame)
    assert names["hour"].height == 2 * 60
    assert len(names["known"]) == (TICKS - 5) * COINS
    assert len(names["first"]) == 0
