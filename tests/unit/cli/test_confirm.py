"""Confirmation: asked on a terminal, never of a script, except before data are deleted."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from cryptoviz.security.tokens import Role, TokenFile
from tests.support.control_server import Serving, serving
from tests.support.pipeline import CRYPTOVIZ


def on_a_terminal(env: Mapping[str, str], answer: str, *command: str) -> tuple[int, str]:
    """Exit code, and everything that the command shows; `answer` is typed in advance."""
    controller, terminal = pty.openpty()
    os.write(controller, answer.encode())
    with subprocess.Popen([CRYPTOVIZ, *command], env=env, stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True) as process:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(controller, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(controller)
        return process.wait(240), shown.decode()


def as_a_script(env: Mapping[str, str], *command: str) -> tuple[int, str]:
    done = subprocess.run([CRYPTOVIZ, *command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def environment(served: Serving) -> dict[str, str]:
    control = served.settings.control
    return os.environ | {"CRYPTOVIZ_HOME": str(served.settings.home), "CRYPTOVIZ_CONTROL__PORT": str(control.port)}


@pytest.mark.parametrize(
    ("command", "question"),
    [
        (("stop", "page", "--wait", "0"), "Stop page? [y/N]: "),
        (("stop", "all", "--wait", "0"), "Stop every component? [y/N]: "),
        (("providers", "trip", "one"), "Stop polling one until `cryptoviz providers reset one`? [y/N]: "),
    ],
)
def test_on_a_terminal_a_verb_that_stops_something_asks(tmp_path: Path, command: tuple[str, ...], question: str) -> None:
    with serving(tmp_path) as served:
        with served.client() as client:
            client.start("page")
        before = served.reconciler.component("page").desired
        code, shown = on_a_terminal(environment(served), "n\n", *command)
        assert code == 1
        assert question in shown
        assert "Aborted" in shown
        assert served.reconciler.component("page").desired is before


def test_yes_on_the_terminal_a_flag_or_a_script_stops(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.client() as client:
        env = environment(served)
        for run in (
            lambda: on_a_terminal(env, "y\n", "stop", "page", "--wait", "0"),
            lambda: on_a_terminal(env, "", "stop", "page", "--wait", "0", "--yes"),
            lambda: as_a_script(env, "stop", "page", "--wait", "0"),
        ):
            client.start("page")
            assert client.get("page").desired == "RUNNING"
            code, shown = run()
            assert code == 0, shown
            assert client.get("page").desired == "STOPPED"


def test_a_token_is_revoked_after_a_yes_and_by_a_script(tmp_path: Path) -> None:
    tokens, env = TokenFile(tmp_path / "home"), os.environ | {"CRYPTOVIZ_HOME": str(tmp_path / "home")}
    assert as_a_script(env, "tokens", "add", "a", "--role", "read")[0] == 0
    tokens.add("b", Role.READ, 1)
    code, shown = on_a_terminal(env, "n\n", "tokens", "revoke", "a")
    assert (code, "Revoke the token 'a'? [y/N]: " in shown, len(tokens.read())) == (1, True, 2)
    assert on_a_terminal(env, "y\n", "tokens", "revoke", "a")[0] == 0
    assert as_a_script(env, "tokens", "revoke", "b")[0] == 0
    assert tokens.read() == ()


def test_data_are_never_deleted_by_a_script_without_the_flag(tmp_path: Path) -> None:
    tokens, env = TokenFile(tmp_path / "home"), os.environ | {"CRYPTOVIZ_HOME": str(tmp_path / "home")}
    assert as_a_script(env, "tokens", "add", "a", "--role", "read")[0] == 0
    code, shown = as_a_script(env, "reset")
    assert code == 1
    assert "Delete all collected data" in shown
    assert len(tokens.read()) == 1
    assert as_a_script(env, "reset", "--yes")[0] == 0
    assert tokens.read() == ()
