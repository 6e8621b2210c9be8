"""`cryptoviz tokens`, beside a running server and without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptoviz.cli.main import app
from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused, CryptoVizError
from cryptoviz.local.home import claim, foreign_reason
from tests.support.control_server import Serving, serving

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    del home
    return lambda *arguments: CliRunner().invoke(app, ["tokens", *arguments])


@pytest.fixture
def served(home: Path) -> Iterator[Serving]:
    claim(home)
    with serving(home) as here:
        yield here


def added(run: Run, name: str, role: str) -> str:
    done = run("add", name, "--role", role)
    assert done.exit_code == 0, done.output
    assert done.stderr == f"Token '{name}' with the role {role}. It is not shown again; `cryptoviz tokens revoke {name}` revokes it.\n"
    return done.stdout.removesuffix("\n")  # the token alone, for TOKEN=$(cryptoviz tokens add ...)


def codes(served: Serving, token: str) -> list[str]:
    """The codes of a call that reads and one that changes something."""
    found = []
    with ControlClient(served.address, token=token, timeout_s=60) as client:
        for call in (client.list, lambda: client.start("page")):
            try:
                call()
                found.append("OK")
            except ControlRefused as error:
                found.append(error.code)
    return found


def test_a_token_has_its_role_until_it_is_replaced_or_revoked(served: Serving, run: Run) -> None:
    viewer, operator = added(run, "grafana", "read"), added(run, "deploy", "operate")
    assert codes(served, viewer) == ["OK", "PERMISSION_DENIED"]
    assert codes(served, operator) == ["OK", "OK"]
    renewed = run("rotate", "grafana").stdout.strip()
    assert codes(served, viewer) == ["UNAUTHENTICATED"] * 2
    assert codes(served, renewed) == ["OK", "PERMISSION_DENIED"]
    done = run("revoke", "deploy")
    assert (done.exit_code, done.stdout) == (0, "Token 'deploy' is revoked.\n")
    assert codes(served, operator) == ["UNAUTHENTICATED"] * 2
    with served.client() as owner:
        assert len(owner.list().components) == 4


def test_the_owners_token_is_listed_replaced_and_never_revoked(served: Serving, run: Run) -> None:
    added(run, "grafana", "read")
    rows = json.loads(run("list", "--json").stdout)["tokens"]
    assert [(row["name"], row["role"]) for row in rows] == [("owner", "operate"), ("grafana", "read")]
    assert all(row["created"].endswith("Z") for row in rows)
    assert run("rotate", "owner").stdout == f"The owner's token is replaced; the new one is in {served.settings.token_file}.\n"
    assert codes(served, served.token) == ["UNAUTHENTICATED"] * 2
    with served.client() as owner:
        assert len(owner.list().components) == 4
    assert "replaces it" in str(run("revoke", "owner").exception)


def test_no_token_is_shown_again(run: Run) -> None:
    token = added(run, "grafana", "read")
    shown = run("list").output + run("list", "--json").output
    assert "grafana" in shown
    assert token not in shown


def test_tokens_can_be_added_before_the_first_start(home: Path, run: Run) -> None:
    added(run, "grafana", "read")
    assert foreign_reason(home) == ""
    assert home.stat().st_mode & 0o777 == 0o700
    with serving(home) as served:
        assert codes(served, added(run, "deploy", "operate")) == ["OK", "OK"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("add", "owner", "--role", "read"), "valid are 1 to 32"),
        (("revoke", "nothing"), "no token 'nothing'"),
        (("rotate", "nothing"), "no token 'nothing'"),
        (("rotate", "owner"), "the first start makes it"),
    ],
)
def test_what_is_not_possible_is_said(run: Run, arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert isinstance(done.exception, CryptoVizError)
    assert text in done.exception.message


def test_a_role_is_required_and_one_of_two(run: Run) -> None:
    assert run("add", "a").exit_code == 2
    assert run("add", "a", "--role", "admin").exit_code == 2
