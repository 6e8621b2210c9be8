"""Where log lines go, and what is imported for it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import pytest

from cryptoviz.log import configure_logging, get_logger


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()]
    assert lines == ["level=warning event=two component=here api_key=********", "level=info event=three component=here"]
