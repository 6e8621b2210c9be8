"""Output of the commands about the gap ledger."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cryptoviz.cli.commands.gaps import gaps_view
from cryptoviz.cli.main import app
from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.errors import CryptoVizError, InvalidTime, SettingsError
from cryptoviz.gaps import Gap, GapScope

T = 1_764_028_800_000  # 2025-11-25T00:00:00Z
COINS = ("algorand", "bitcoin", "cardano", "vechain")


def rendered(found: list[Gap], pipeline: PipelineStatus | None = None) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=80).print(gaps_view(found, pipeline))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_an_outage_is_one_line() -> None:
    outage = [Gap(GapScope.ASSET, coin, T, T + 600_000, 60_000, 11, "not_running", T) for coin in COINS]
    filled = Gap(GapScope.ASSET, "bitcoin", T + 900_000, T + 900_000, 60_000, 1, "missing_asset", T, 1, ("binance",), T)
    lines = rendered([*outage, filled])
    assert [line for line in lines if line.startswith("2025")] == [
        "2025-11-25 00:00:00 00:10:00 11 not_running open algorand +3",
        "2025-11-25 00:15:00 00:15:00 1/1 missing_asset filled bitcoin",
    ]
    assert rendered([]) == ["No gap."]


def test_an_empty_ledger_of_a_pipeline_that_never_had_a_price_is_not_called_good() -> None:
    never = PipelineStatus(ComponentState.STARTING, "no provider has answered yet", ())
    assert rendered([], never) == [
        "No gaps in the ledger. It lags by about a minute.",
        "CryptoViz is STARTING: no provider has answered yet",
    ]
    assert rendered([], PipelineStatus(ComponentState.RUNNING, "all components run", ())) == ["No gap."]


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00"])
@pytest.mark.parametrize(("command", "error"), [(("backfill", "--from"), SettingsError), (("query", "SELECT 1", "--as-of"), InvalidTime)])
def test_a_time_needs_its_zone(command: tuple[str, ...], error: type[CryptoVizError], text: str) -> None:
    result = CliRunner().invoke(app, [*command, text])
    assert isinstance(result.exception, error)
    assert repr(text) in result.exception.message
