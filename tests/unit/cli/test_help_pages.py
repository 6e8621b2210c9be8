"""The help of every command is a page: description, options with default and unit, example, exit codes. And every command has JSON."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from control.reconcile.components import ComponentSpec, ComponentTable
from cryptoviz.cli.help_pages import EXAMPLES, EXIT_CODES, FINDINGS
from cryptoviz.cli.main import app
from cryptoviz.components import ComponentKind
from cryptoviz.local.private import ensure_token
from cryptoviz.operations import BackfillArguments
from cryptoviz.provider_status import BreakerState, BreakerStatus, ScraperStatus
from cryptoviz.telemetry.log_files import log_path
from tests.support.command_line import every_command, parse
from tests.support.control_server import Serving, serving

ROOT = Path(__file__).parents[3]
COMMANDS = every_command()
UNITS = re.compile(r"(?i)\b(seconds|lines|rows|bytes)\b")


def options(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option" and each.name != "help"]


def page(path: str) -> str:
    shown = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert shown.exit_code == 0
    return " ".join(shown.output.split())


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_is_a_page(path: str) -> None:
    command, text = COMMANDS[path], page(path)
    assert command.help
    assert f"Example: {EXAMPLES[path]} Exit codes: 0 success 1 {FINDINGS.get(path, 'error')}" in text
    assert all(f"{code} {meaning}" in text for code, meaning in EXIT_CODES.items() if code != 1)
    program, *arguments = shlex.split(EXAMPLES[path])
    assert program == "cryptoviz"
    assert arguments[: len(path.split())] == path.split()
    parse(tuple(arguments))


@pytest.mark.parametrize(("path", "option"), [(path, each) for path, command in COMMANDS.items() for each in options(command)], ids=str)
def test_an_option_says_its_default_and_unit(path: str, option: Any) -> None:
    assert option.help.endswith(".")
    if option.is_flag or option.required:
        return
    text = page(path)
    shown = option.default not in (None, "") and f"[default: {option.default}" in text
    assert shown or "default" in option.help.lower(), option.help
    if re.search(rf"{option.opts[0]} <(int|float)", text):
        assert UNITS.search(option.help), option.help


def test_options_with_numbers_are_recognised() -> None:
    assert {path for path in COMMANDS if re.search(r"--[a-z-]+ <(int|float)", page(path))} == {
        "start", "stop", "restart", "logs", "dead-letters", "alerts history"
    }  # fmt: skip


def test_the_tables_name_every_command_and_no_other() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    assert set(FINDINGS) <= set(COMMANDS)


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - {"tokens", "alerts"}))  # groups that do nothing themselves
def test_every_command_has_json(path: str) -> None:
    assert "--json" in {name for each in options(COMMANDS[path]) for name in each.opts}


def test_the_page_has_the_exit_codes_of_the_help() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE))
    assert list(map(int, rows)) == list(EXIT_CODES)
    assert all(rows[str(code)].startswith(meaning) for code, meaning in EXIT_CODES.items())


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A control server that the commands of this process find by the settings of a user."""
    kinds = {"engine": ComponentKind.ENGINE, "scraper/kraken": ComponentKind.SCRAPER}
    table = ComponentTable([ComponentSpec(name, kind, "x:X", ()) for name, kind in kinds.items()])
    with serving(tmp_path / "home", table, {"collect": {"providers": ["kraken"]}}) as here:
        for method, state in (("provider_status", BreakerState.CLOSED), ("trip_breaker", BreakerState.OPEN), ("reset_breaker", BreakerState.CLOSED)):
            here.runtime.answers["scraper/kraken", method] = ScraperStatus(breaker=BreakerStatus(state, "", 5, None, 0, 0))
        monkeypatch.setenv("CRYPTOVIZ_HOME", str(here.settings.home))
        monkeypatch.setenv("CRYPTOVIZ_CONTROL__PORT", str(here.settings.control.port))
        monkeypatch.chdir(tmp_path)
        yield here


def documents(*arguments: str) -> list[Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_verbs_print_json(served: Serving) -> None:
    (started,) = documents("start", "all")
    assert [(one["name"], one["state"]) for one in started["components"]] == [("engine", "RUNNING"), ("scraper/kraken", "RUNNING")]
    (again,) = documents("restart", "engine")
    assert [one["name"] for one in again["components"]] == ["engine"]
    (tripped,) = documents("providers", "trip", "kraken")
    assert (tripped["name"], tripped["breaker"]["state"]) == ("kraken", "open")
    (cleared,) = documents("providers", "reset", "kraken")
    assert cleared["breaker"]["state"] == "closed"
    (stopped,) = documents("stop", "all")
    assert {one["state"] for one in stopped["components"]} == {"STOPPED"}
    path = log_path(served.settings, "engine")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('one\nsays "two"\n')
    assert documents("logs", "engine") == [{"component": "engine", "line": "one"}, {"component": "engine", "line": 'says "two"'}]
    with served.client() as client:
        begun = client.operations.start(BackfillArguments())
    (cancelled,) = documents("operations", "cancel", begun.id)
    assert (cancelled["id"], cancelled["state"]) == (begun.id, "CANCELLED")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [("status", "components"), ("providers", "providers"), ("gaps", "gaps"), ("operations", "operations"), ("config", "control")],
)
def test_a_report_prints_json(served: Serving, arguments: str, key: str) -> None:
    done = CliRunner().invoke(app, [arguments, "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert key in json.loads(done.stdout)


def test_down_and_reset_print_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert documents("reset") == [{"home": str(home), "deleted": [], "links": {}, "kept": []}]
    assert documents("down") == [{"stopped": False}]


def test_tokens_print_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def answer(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["tokens", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    added = answer("add", "grafana", "--role", "read")
    assert (added["name"], added["role"]) == ("grafana", "read")
    ensure_token(home / "control.token", "CRYPTOVIZ_HOME")
    rotated = answer("rotate", "grafana")
    assert rotated["token"] not in ("", added["token"])
    assert [one["name"] for one in answer("list")["tokens"]] == ["owner", "grafana"]
    assert answer("revoke", "grafana") == {"name": "grafana", "revoked": True}
    assert answer("rotate", "owner") == {"name": "owner", "token_file": str(home / "control.token")}


def code_of(*arguments: str, until: str = "") -> int:
    """Exit code of the program; with `until`, interrupted once it has printed that."""
    command = [sys.executable, "-m", "cryptoviz.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        if until:
            assert any(until in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    return process.returncode


def test_each_exit_code_occurs(served: Serving) -> None:
    seen = {
        code_of("status"): 0,
        code_of("start", "zookeeper"): 1,
        code_of("status", "--wathc"): 2,
        code_of("status", "--watch", until="engine"): 130,
    }
    assert seen == {code: code for code in EXIT_CODES}
