"""External text is shown as text: terminal escapes, markup and emoji codes have no effect."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import textwrap

import pytest
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.commands.gaps import gaps_view
from cryptoviz.cli.commands.providers import providers_view
from cryptoviz.cli.terminal import TerminalSink, printable, terminal
from cryptoviz.gaps import Gap, GapScope
from tests.unit.cli.commands.test_providers import row

HOSTILE = [
    ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
    ("\x9b31mred", "\\x9b31mred"),
    ("a\rb\x08c\x00", "a\\rb\\x08c\\x00"),
    ("safe\u202eexe.txt", "safe\\u202eexe.txt"),
    ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
    ("crypto-streaming:100:7 :smile:", "crypto-streaming:100:7 :smile:"),
    ("[x] [red]y[/red] [/nothing] [link=http://evil]z[/link]", "[x] [red]y[/red] [/nothing] [link=http://evil]z[/link]"),
    ("ünïcödé 価格 👩\u200d💻", "ünïcödé 価格 👩\u200d💻"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_unsafe_characters_become_escapes_and_all_others_stay(text: str, shown: str) -> None:
    assert printable(text) == shown


def _without_stripped(text: str) -> str:
    """rich removes these five characters itself."""
    return re.sub(r"\\(x07|x08|x0b|x0c|r)", "", text)


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_every_way_to_the_console_shows_the_text(text: str, shown: str) -> None:
    table = Table(title=text)
    table.add_column(text, no_wrap=True)
    table.add_row(text)
    table.add_row(Text(text))
    for renderable in (text, Text(text), table, Panel(text), Group(Text(text), table)):
        file = io.StringIO()
        console = terminal(file=file)
        console.print(renderable)
        out = file.getvalue()
        assert _without_stripped(shown) in out
        assert not [c for c in out if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f")]


def test_a_pipe_gets_whole_tables() -> None:
    table = Table()
    for number in range(30):
        table.add_column(f"column_{number}")
    table.add_row(*[f"value_{number}" + "x" * 20 for number in range(30)])
    file = io.StringIO()
    terminal(file=file).print(table)
    assert all(f"value_{number}" + "x" * 20 in file.getvalue() for number in range(30))


def test_a_terminal_sink_escapes_within_json_and_keeps_what_it_says() -> None:
    raw = io.BytesIO()
    with TerminalSink(raw) as sink:
        for piece in (b'{"a": "\xc2', b'\x9b31m \xe2\x80\xae x"}\n{"b": "', b'\xf3\xa0\x81\x81"}'):
            sink.write(piece)
    assert raw.getvalue() == b'{"a": "\\u009b31m \\u202e x"}\n{"b": "\\udb40\\udc41"}'
    first, second = raw.getvalue().decode().splitlines()
    assert json.loads(first) == {"a": "\x9b31m \u202e x"}
    assert json.loads(second) == {"b": "\U000e0041"}


def test_the_views_of_gaps_and_providers_do_not_interpret_what_they_are_given() -> None:
    text, seen = "\x1b[31m[x] :smile:", "\\x1b[31m[x] :smile:"
    for view in (providers_view([row(None, text)], 0), gaps_view([Gap(GapScope.PROVIDER, text, 0, 0, 60_000, 1, "timeout", 0)])):
        file = io.StringIO()
        terminal(file=file).print(view)
        assert seen in file.getvalue()


def test_a_query_result_with_escapes_and_equal_names() -> None:
    """By position: `SELECT 1 AS a, 2 AS a` has two columns in the table and in CSV, and is refused where names must be unique."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from cryptoviz.cli.terminal import Format
        from cryptoviz.cli.output import write_rows
        from cryptoviz.lake.sql import run
        schema, batches = run(sys.argv[1], {}).stream(1000)
        write_rows(schema, batches, Format(sys.argv[2]), None)
        """
    )

    def shown(sql: str, form: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", script, sql, form], capture_output=True, text=True, timeout=300, check=False)

    twice = "SELECT 1 AS a, 2 AS a"
    assert [line.split() for line in shown(twice, "table").stdout.splitlines()] == [["a", "a"], ["1", "2"]]
    assert shown(twice, "csv").stdout == '"a","a"\n1,2\n'
    for form in ("json", "ndjson"):
        refused = shown(twice, form)
        assert refused.returncode == 1
        assert "the result repeats 'a'; rename with AS" in refused.stderr
    numbers = "SELECT 1::HUGEINT AS h, 1.50::DECIMAL(9,2) AS d, sum(2) AS s, [0.1::DECIMAL(3,1)] AS l, 340282366920938463463::HUGEINT AS m"
    assert shown(numbers, "json").stdout == '[\n{"h":1,"d":1.50,"s":2,"l":[0.1],"m":340282366920938463463}\n]\n'
    hostile = shown("SELECT chr(27) || '[31m[x] :smile:' AS \"[b]n\"", "table").stdout
    assert [line.strip() for line in hostile.splitlines()] == ["[b]n", "\\x1b[31m[x] :smile:"]
    wide = shown("SELECT " + ", ".join(f"'{'v' * 30}{n}' AS c{n}" for n in range(20)), "table").stdout
    assert wide.splitlines()[1].split() == [f"{'v' * 30}{n}" for n in range(20)]
