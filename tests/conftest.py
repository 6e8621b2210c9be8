"""Shared fixtures, and the order and grouping of tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from cryptoviz.masking import forget
from tests.support import engines
from tests.support.pipeline import Demo, running_demo

# The duration of an example depends on the machine more than on the code.
hypothesis.settings.register_profile("values", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("values")

_ENVIRONMENT = dict(os.environ)
_SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ
_LINES_OF_A_FAILURE = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption("--external-engines", action="store_true", help="use a Kafka, S3 and Redis that the project does not start")
    parser.addoption("--failures-to", type=Path, help="append each failed test and why it failed to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the engines."""
    engines.EXTERNAL = config.getoption("--external-engines")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Keep the failures, so that those of several runs can be shown together at the end."""
    path: Path | None = config.getoption("--failures-to")
    if path is None or _SIDE_BY_SIDE:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for report in (*terminalreporter.stats.get("failed", ()), *terminalreporter.stats.get("error", ())):
            why = [line for line in report.longreprtext.splitlines() if line.startswith(("E ", ">")) or line.endswith(("Error", "Failed"))]
            print(f"{report.outcome.upper()} {report.nodeid} ({report.when})", *why[-_LINES_OF_A_FAILURE:], sep="\n  ", file=file)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Restore SIGINT, which a shell ignores for background processes, for tests of Ctrl-C in this process and its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo shared by all tests that need the pipeline; two ticks per second, so that a thousand rows take half a minute."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_known_secrets() -> Iterator[None]:
    """Forget the secrets that a test has set."""
    yield
    forget()


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Give each test the variables of the session's start.

    The command line, run or listed in this process, deletes variables that lead elsewhere (`cryptoviz.local.shell.forget_options`).
    """
    yield
    _restore_deleted()


def pytest_collection_finish() -> None:
    """As `same_environment`: modules list the commands while they are collected."""
    _restore_deleted()


def _restore_deleted() -> None:
    for name in _ENVIRONMENT.keys() - os.environ.keys():
        os.environ[name] = _ENVIRONMENT[name]


@pytest.hookimpl(tryfirst=True)  # before -m selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests of the whole demo last, together: its ten components would slow down every other test that starts engines.

    With two parallel processes, tests that wait for engines come first, and the unit tests fill the remaining time.
    """
    for item in items:
        if _uses_demo(item) or item.get_closest_marker("chaos"):
            item.add_marker(pytest.mark.alone)
    items.sort(key=_waits_least if _SIDE_BY_SIDE else _uses_demo)


def _uses_demo(item: pytest.Item) -> bool:
    return "demo" in getattr(item, "fixturenames", ())


def _waits_least(item: pytest.Item) -> bool:
    return item.get_closest_marker("integration") is None and item.get_closest_marker("browser") is None
