"""The table of commands: complete, and without unused imports."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cryptoviz.cli.command_table import COMMANDS
from cryptoviz.cli.main import app

HEAVY = {"aiohttp", "duckdb", "grpc", "httpx", "minio", "numpy", "pandas", "polars", "pyarrow", "pydantic", "ray", "redis", "rich", "structlog"}


def imported_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has imported after the statement."""
    code = f"import sys\n{statement}\nprint(sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


HELP = """
import contextlib
sys.argv = ["cryptoviz", "--help"]
import cryptoviz.cli.main
with contextlib.suppress(SystemExit):
    cryptoviz.cli.main.main()
"""


def test_the_help_imports_no_library_of_a_command() -> None:
    assert imported_by(HELP) & HEAVY == set()


def test_the_version_is_that_of_the_package_and_imports_no_library_of_a_command() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    declared = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (shown.exit_code, shown.output) == (0, f"cryptoviz {declared}\n")
    assert imported_by(HELP.replace("--help", "--version")) & HEAVY == set()


@pytest.mark.parametrize("module", ["control", "gaps", "operations", "providers", "replay"])
def test_a_command_of_a_running_pipeline_imports_no_engine_library(module: str) -> None:
    """Doctor and start probe Redis; the others use gRPC."""
    engines = {"aiohttp", "duckdb", "minio", "numpy", "pandas", "polars", "pyarrow", "ray", "redis"}
    assert imported_by(f"import cryptoviz.cli.commands.{module}") & engines == set()


def test_status_imports_only_what_it_needs_and_leaves_its_modules_to_no_collection() -> None:
    code = """
import gc, sys
from cryptoviz.cli.command_table import LazyCommands
command = LazyCommands(name="cryptoviz").commands["status"]
unused = {"cryptoviz.operations", "cryptoviz.operations_client", "cryptoviz.providers", "cryptoviz.settings", "dotenv", "pydantic", "rich.live"}
unused &= set(sys.modules)
frozen = gc.get_freeze_count()
print([command.name, sorted(unused), gc.isenabled(), frozen > len(gc.get_objects())])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "['status', [], True, True]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_table_says(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"{name} [OPTIONS]" in shown.output


def test_no_command_is_missing_from_the_table() -> None:
    root = typer.main.get_group(app)
    context = typer.Context(root)
    modules = {module for module, _ in COMMANDS.values()}
    registered = set()
    for module in modules:
        group = typer.Typer()
        __import__(f"cryptoviz.cli.commands.{module}", fromlist=["register"]).register(group)
        registered |= set(typer.main.get_group(group).commands)
    assert registered == set(root.list_commands(context)) == set(COMMANDS)


def test_a_help_line_is_whole_on_a_narrow_terminal() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    for name, (_, text) in COMMANDS.items():
        assert f"{name.ljust(14)}{text}" in shown.output
