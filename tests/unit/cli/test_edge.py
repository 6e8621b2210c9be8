"""The command with invalid arguments, environments and outputs: a clear one-line message, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline import CRYPTOVIZ

HOME = "/nonexistent/José 日本 🪙"


def run(*arguments: str | bytes, stdout: int | None = subprocess.PIPE, **env: str | bytes) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environb.items() if not name.startswith((b"CRYPTOVIZ_", b"PYTHON", b"LC_", b"LANG"))}
    own = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    return subprocess.run([CRYPTOVIZ, *arguments], env=kept | own, stdout=stdout, stderr=subprocess.PIPE, timeout=300, check=False)


def fails(done: subprocess.CompletedProcess[bytes], code: int, text: str) -> None:
    error = done.stderr.decode(errors="replace")
    assert "Traceback" not in error
    assert text in error
    assert done.returncode == code


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r"])
def test_an_output_of_another_encoding_gets_escapes_and_json_says_the_same(encoding: str) -> None:
    done = run("config", "--json", CRYPTOVIZ_HOME=HOME, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    # Lines of plain text are written as UTF-8 if the encoding is ASCII.
    assert json.loads(done.stdout.decode("utf-8" if encoding == "ascii" else encoding))["home"] == HOME
    table = run("config", CRYPTOVIZ_HOME=HOME, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert table.returncode == 0, table.stderr
    assert b"\\u65e5\\u672c \\ud83e\\ude99" in table.stdout


def test_an_error_in_another_encoding_is_one_line() -> None:
    fails(run("config", CRYPTOVIZ_HOME="/x\n日本", PYTHONIOENCODING="ascii", PYTHONUTF8="0"), 1, "CRYPTOVIZ_HOME")


@pytest.mark.parametrize("arguments", [("config",), ("config", "--json"), ("doctor",), ("--help",)])
def test_a_full_disk_behind_stdout(arguments: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        fails(run(*arguments, stdout=full, CRYPTOVIZ_HOME=HOME), 1, "error: cannot write the output: No space left on device")
    finally:
        os.close(full)


def test_a_closed_stdout_is_no_error() -> None:
    code = f"import os, sys; os.close(1); os.execv({CRYPTOVIZ!r}, [{CRYPTOVIZ!r}, 'config'])"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"CRYPTOVIZ_HOME": HOME}, stderr=subprocess.PIPE, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [("query", b"SELECT '\xff'"), ("logs", b"\xff"), (b"\xfe\xff",), ("query", "SELECT 1", "-o", b"/tmp/\xe9.csv")])
def test_an_argument_that_is_no_text(arguments: tuple[str | bytes, ...]) -> None:
    fails(run(*arguments, CRYPTOVIZ_HOME=HOME), 2, "is not UTF-8: b")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CRYPTOVIZ_HOME", b"/tmp/Jos\xe9", "CRYPTOVIZ_HOME is not UTF-8"),
        ("CRYPTOVIZ_S3__ACCESS_KEY", b"canary\xff", "CRYPTOVIZ_S3__ACCESS_KEY is not UTF-8"),
        ("COINMARKETCAP_API_KEY", b"canary\xff", "COINMARKETCAP_API_KEY is not UTF-8"),
        ("CRYPTOVIZ_HOME", b"/tmp/a\nb", "control character"),
        ("CRYPTOVIZ_HOME", b"/tmp/a\x1bb", "control character"),
        ("CRYPTOVIZ_CACHE", b"/tmp/a:b", "CRYPTOVIZ_CACHE"),
        ("CRYPTOVIZ_HOME", b"~nobody-of-this-name/x", "CRYPTOVIZ_HOME"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: bytes, text: str) -> None:
    env: dict[str, Any] = {name: value}
    done = run("config", **env)
    fails(done, 1, text)
    assert b"canary" not in done.stderr


def test_without_home_and_password_entry_the_setting_to_give_is_named(tmp_path: Path) -> None:
    code = """
import pwd, sys
def none(uid): raise KeyError(uid)
pwd.getpwuid = none
sys.argv = ["cryptoviz", "config"]
from cryptoviz.cli.main import main
main()
"""
    env = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith(("XDG_", "CRYPTOVIZ_"))}
    for given, text in (({}, "CRYPTOVIZ_HOME is not set"), ({"CRYPTOVIZ_HOME": str(tmp_path)}, "CRYPTOVIZ_CACHE is not set")):
        done = subprocess.run([sys.executable, "-c", code], env=env | given, capture_output=True, timeout=300, check=False)
        fails(done, 1, text)
    both = {"CRYPTOVIZ_HOME": str(tmp_path / "home"), "CRYPTOVIZ_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=env | both, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
