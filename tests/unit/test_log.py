"""Where log lines go, and what is imported for it."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz.log import configure_logging, get_logger, log_context

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def test_a_line_goes_to_the_standard_error_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    # A command that was run in this process had a standard error of its own, which is closed now.
    first = io.StringIO()
    with contextlib.redirect_stderr(first):
        configure_logging("WARNING")
        get_logger("here").warning("one")
    first.close()
    get_logger("here").warning("two", number=2)
    assert capsys.readouterr().err.split(" ", 1)[1] == "level=warning event=two component=here number=2\n"


def test_structlog_is_configured_when_the_first_logger_is_made() -> None:
    code = (
        "import sys\nfrom cryptoviz.log import configure_logging, get_logger\nconfigure_logging('WARNING')\n"
        "assert 'structlog' not in sys.modules\nlog = get_logger('here')\nlog.info('one')\nlog.warning('two', api_key='canary-77')\n"
        "configure_logging('INFO')\nlog.info('three')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()]
    assert lines == ["level=warning event=two component=here api_key=********", "level=info event=three component=here"]


ENDS = """
import logging, sys, threading
from cryptoviz.log import configure_logging
from cryptoviz.masking import hide

configure_logging("WARNING")
hide(["canary-0123456789"])

def fail():
    try:
        raise OSError("first canary-0123456789")
    except OSError as cause:
        error = ValueError("second canary-0123456789")
        error.add_note("note canary-0123456789")
        raise error from cause

try:
    fail()
except ValueError:
    logging.getLogger("a.library").warning("third %s", "canary-0123456789", exc_info=True)
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
fail()
"""


def test_a_traceback_that_python_writes_shows_no_secret() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "canary" not in done.stderr
    for words, times in (("OSError: first ********", 3), ("ValueError: second ********", 3), ("\nnote ********", 3), ("third ********", 1)):
        assert done.stderr.count(words) == times, words
    assert "Exception in thread worker:\nTraceback (most recent call last):" in done.stderr


def test_a_value_without_a_text_does_not_end_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    configure_logging("WARNING")
    get_logger("here").warning("three", error=Silent())
    assert "error=<test_a_value_without_a_text_does_not_end_the_program.<locals>.Silent>" in capsys.readouterr().err


def test_a_command_that_ends_unexpectedly_shows_no_secret() -> None:
    code = (
        "import sys, typer\nfrom cryptoviz.cli import main\nfrom cryptoviz.masking import hide\n"
        "main.app = typer.Typer(pretty_exceptions_enable=False)\n@main.app.command()\n"
        "def fail():\n    hide(['canary-0123456789'])\n    raise ERROR\nsys.argv = ['cryptoviz']\nmain.main()\n"
    )
    for error, last in (("ValueError('x canary-0123456789')", "ValueError: x ********"), ("OSError('x canary-0123456789')", "error: x ********")):
        done = subprocess.run([sys.executable, "-c", code.replace("ERROR", error)], capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stderr.splitlines()[-1], "canary" in done.stderr) == (1, last, False)


def test_control_characters_are_escaped_in_both_formats() -> None:
    """A text of a provider must not clear a terminal, nor begin a line that is not ours for a reader that splits at another end of line."""
    text = "a\rtimestamp=1 level=error\x1b[2J\x00\x85b\u2028c\u202ed\n\té"
    lines = {}
    for form in ("logfmt", "json"):
        stream = io.StringIO()
        configure_logging("INFO", stream, form)
        try:
            get_logger("here").info("one", reason=text)
        finally:
            configure_logging("WARNING")
        lines[form] = stream.getvalue()
        assert lines[form].endswith("\n")
        assert lines[form].count("\n") == len(lines[form].splitlines()) == 1
        assert lines[form][:-1].isprintable()
    assert lines["logfmt"].endswith('reason="a\\rtimestamp=1 level=error\\x1b[2J\\x00\\x85b\\u2028c\\u202ed\\n\\té"\n')
    assert json.loads(lines["json"])["reason"] == text


@pytest.mark.parametrize("end", ["sys.stderr = None", "sys.stderr.close()"])
@pytest.mark.parametrize("program", ["configure_logging()", "log_to_file(load_settings(), 'collector')"])
def test_a_process_without_a_standard_error_logs_without_an_error(program: str, end: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cryptoviz.log import configure_logging, get_logger\nfrom cryptoviz.telemetry.log_files import log_to_file\n"
        f"from cryptoviz.settings import load_settings\n{end}\n{program}\nget_logger('here').warning('one')\nprint('done')\n"
    )
    environment = {"CRYPTOVIZ_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert (done.stdout, done.returncode) == ("done\n", 0)


def test_json_has_an_object_per_line_with_the_keys_of_the_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form="json")
    try:
        with log_context(tick_ts=1, fetch_id="abc"):
            get_logger("here").info("one", text='a "b"\nc', number=math.nan, api_key="canary-77")
            get_logger("here").info("two", tick_ts=2)
        get_logger("here").error("three", exc_info=ValueError("four"))
    finally:
        configure_logging("WARNING")
    one, two, three = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert one.pop("timestamp").endswith("Z")
    context = {"level": "info", "event": "one", "component": "here", "tick_ts": 1, "fetch_id": "abc"}
    assert one == context | {"text": 'a "b"\nc', "number": "nan", "api_key": "********"}
    assert (two["tick_ts"], two["fetch_id"]) == (2, "abc")
    assert three["exception"].splitlines()[-1] == "ValueError: four"
    assert not {"tick_ts", "fetch_id"} & set(three)


def test_events_are_names_in_every_module() -> None:
    """A log collector groups lines by them; the rest of a sentence belongs into values."""
    sentences = []
    for folder in ("actors", "control", "cryptoviz", "dashboard", "market", "spark_jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and _is_logger(call.func.value):
                    event = call.args[0]
                    if not (isinstance(event, ast.Constant) and re.fullmatch(r"[a-z][a-z0-9_]*", str(event.value))):
                        sentences.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(event)}")
    assert sentences == []


def _is_logger(value: ast.expr) -> bool:
    name = value.func if isinstance(value, ast.Call) else value
    return {"log", "_log", "get_logger"} & {getattr(name, "id", None), getattr(name, "attr", None)} != set()


def test_a_process_that_logs_does_not_import_rich_and_may_do_so_later() -> None:
    program = """
import sys
from cryptoviz.log import get_logger, log_context
with log_context(a=1):
    get_logger("test").info("a line")
print(sorted(name for name in ("pygments", "rich", "structlog") if name in sys.modules))
import rich.console
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.returncode) == ("['structlog']\n", 0), done.stderr
    assert 'event="a line"' in done.stderr
