"""The examples of README and docs/control.md on a running pipeline. Those of docs/lake.md: test_examples_lake.py, test_other_readers.py."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import Any

import pytest

from cryptoviz import lake as lake_package
from tests.support.documents import Command, commands, python_blocks
from tests.support.pipeline import Demo

pytestmark = [pytest.mark.integration]

# Commands that only read and terminate; start, stop, backfill, replay and `verify` have separate tests.
READING = {"status", "query", "providers", "gaps", "dead-letters", "doctor", "config", "alerts"}
ENDLESS = {"--watch", "-w", "-f", "--follow"}
CHANGING = {"add", "trip", "reset", "replay", "--export", "--fix", "--output", "-o", "--show"}


class Seen(Exception):
    """Wait for the first line of the example."""


@pytest.fixture
def as_a_user(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """This process finds the demo by the environment of a user."""
    for name, value in demo.env.items():
        if name.startswith("CRYPTOVIZ_"):
            monkeypatch.setenv(name, value)
    lake_package.default_lake.cache_clear()
    return demo


def finite(command: Command) -> bool:
    return command.arguments[0] in READING and not CHANGING & set(command.arguments)


@pytest.mark.parametrize("command", [command for command in commands() if finite(command)], ids=str)
def test_a_documented_command_succeeds(demo: Demo, command: Command) -> None:
    done = demo.cli(*(argument for argument in command.arguments if argument not in ENDLESS))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip()


def test_the_python_example_of_the_readme_reads_prices(as_a_user: Demo) -> None:
    del as_a_user
    (example,) = python_blocks("README.md")
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    frame = names["frame"]
    assert list(frame.columns) == ["tick_ts", "price", "provider"]
    assert len(frame) > 0
    assert frame["price"].min() > 0


def test_the_python_examples_of_the_control_page_run(as_a_user: Demo) -> None:
    printed: list[tuple[Any, ...]] = []

    def first_line(*values: Any) -> None:
        printed.append(values)
        raise Seen

    names: dict[str, Any] = {"print": first_line}
    examples = sorted(python_blocks("docs/control.md"), key=lambda text: "import load_settings" not in text)
    assert len(examples) == 3
    for example in examples:
        code = compile(example, "docs/control.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with pytest.raises(Seen):
            # With `await` at its top level, it evaluates to a coroutine.
            asyncio.run(eval(code, names)) if code.co_flags & inspect.CO_COROUTINE else exec(code, names)
    assert str(printed[0][0]) in ("RUNNING", "DEGRADED", "STARTING", "STOPPING")
    as_a_user.cli("start", "scraper/coingecko")
    as_a_user.await_states(scraper__coingecko="RUNNING")
    with as_a_user.control() as client:  # one example starts a backfill
        assert {client.operations.wait(each.id, 300).over for each in client.operations.list()} == {True}
