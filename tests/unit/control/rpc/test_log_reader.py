"""Reading the end of a log and following it."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.rpc.log_reader import LogPosition, follow, last_lines, safe_line
from cryptoviz.telemetry.log_rotation import rotate


async def test_the_last_lines_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(200_000)))
    assert await last_lines(path, 3) == ["line 199997", "line 199998", "line 199999"]
    assert await last_lines(path, 10_000) == [f"line {number}" for number in range(190_000, 200_000)]


@pytest.mark.parametrize(
    ("content", "count", "lines"),
    [
        (b"", 5, []),
        (b"one\n", 5, ["one"]),
        (b"one\ntwo\n", 1, ["two"]),
        (b"one\ntwo", 5, ["one"]),  # not ended yet: still being written
        (b"no end", 5, []),
        (b"one\r\n\ntwo\n", 5, ["one", "", "two"]),
    ],
)
async def test_small_files(tmp_path: Path, content: bytes, count: int, lines: list[str]) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(content)
    assert await last_lines(path, count) == lines


async def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert await last_lines(tmp_path / "none.log", 5) == []


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"tab\tstays", "tab\tstays"),
        (b"\x1b[2Jgone", "\\x1b[2Jgone"),
        (b"a\rb", "a\\x0db"),
        (b"\x07\x00\x7f", "\\x07\\x00\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("é ✓".encode(), "é ✓"),
        ("\u0085\u2028".encode(), "\\x85\\u2028"),
    ],
)
def test_control_characters_are_escaped(raw: bytes, shown: str) -> None:
    assert safe_line(raw) == shown


@given(st.binary(max_size=200))
def test_any_bytes_become_one_printable_line(raw: bytes) -> None:
    line = safe_line(raw)
    assert len(line.splitlines()) <= 1
    assert all(character == "\t" or ord(character) >= 32 for character in line)


def test_a_huge_line_is_cut() -> None:
    line = safe_line(b"x" * 1_000_000)
    assert line.startswith("xxx")
    assert line.endswith("(1000000 bytes)")
    assert len(line) < 9_000


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"event": "failed", "traceback": "x" * 100_000, "port": 7}, {"event": "failed", "port": 7}),
        ({"event": "é\x7f\u2028" * 9_000, "level": "error"}, {"level": "error"}),
        ({"event": "many", "rows": list(range(9_000)), "done": True}, {"event": "many", "done": True}),
        ({"event": "wide", "level": "info"} | {f"key {number}": number for number in range(9_000)}, {"event": "wide", "level": "info"}),
    ],
)
def test_a_huge_line_of_json_stays_json(values: dict[str, object], kept: dict[str, object]) -> None:
    line = safe_line(json.dumps(values, ensure_ascii=False).encode())
    assert len(line.encode()) < 9_000
    assert line.isprintable()
    found = json.loads(line)
    assert {key: found[key] for key in kept} == kept


@pytest.mark.parametrize("raw", [b'{"event": ' + b"x" * 9_000, b'{"event": "' + b"x" * 2_000_000 + b'"}', b"[" * 9_000])
def test_a_huge_line_that_is_no_object_is_cut(raw: bytes) -> None:
    assert safe_line(raw).endswith(f"({len(raw)} bytes)")


async def _next(pages: AsyncIterator[tuple[list[str], LogPosition | None]]) -> list[str]:
    """The next page with lines."""
    async with asyncio.timeout(60):
        while not (page := (await anext(pages))[0]):
            pass
        return page


async def test_following_through_truncation_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("old\nlast\nhalf")
    lines = follow(path, 1)
    assert await _next(lines) == ["last"]
    with path.open("a") as file:
        file.write(" done\nnew\n")
    assert await _next(lines) == ["half done", "new"]
    path.write_text("t\n")  # truncated
    assert await _next(lines) == ["t"]
    path.rename(tmp_path / "x.log.1")
    path.write_text("rotated\n")
    assert await _next(lines) == ["rotated"]
    await lines.aclose()


async def test_following_a_file_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = follow(path, 10)
    first = asyncio.ensure_future(_next(lines))
    path.write_text("hello\n")
    assert await first == ["hello"]
    await lines.aclose()


async def test_pages_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"{number}\n" for number in range(1000)))
    lines = follow(path, 1000)
    assert [len(await _next(lines)) for _ in range(5)] == [200] * 5
    await lines.aclose()


async def test_no_line_is_lost_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"one\n")
    with path.open("ab", buffering=0) as writer:
        lines = follow(path, 10)
        assert await _next(lines) == ["one"]
        writer.write(b"two\nthree\n")
        assert rotate(path, 10)
        writer.write(b"four\n")
        assert await _next(lines) == ["two", "three"]
        assert await _next(lines) == ["four"]
    assert await last_lines(path, 3) == ["two", "three", "four"]
    assert await last_lines(path, 1) == ["four"]


async def test_a_position_resumes_after_its_page(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"{number}\n" for number in range(250)))
    first = follow(path, 250)
    (_, before), (page, place) = await anext(first), await anext(first)
    await first.aclose()
    assert (before, page[-1]) == (None, "249")
    assert place is not None
    with path.open("a") as file:
        file.write("250\n")
    assert rotate(path, 10)
    path.write_text("251\n")
    again = follow(path, 100, LogPosition.parse(str(place)))
    assert [await _next(again), await _next(again)] == [["250"], ["251"]]
    await again.aclose()


async def test_a_missing_log_has_a_position_too(tmp_path: Path) -> None:
    waiting = follow(tmp_path / "x.log", 1)
    lines, place = await anext(waiting)
    await waiting.aclose()
    assert (lines, str(place)) == ([], "0-0-0")
    (tmp_path / "x.log").write_text("one\ntwo\n")
    again = follow(tmp_path / "x.log", 1, place)
    assert await _next(again) == ["one", "two"]
    await again.aclose()


@pytest.mark.parametrize("text", ["", "1-2", "1-2-3-4", "-1-2-3", "1-2-x", "1-1234567890123456789-3", "1-2-3\n", "\u0661-2-3"])
def test_a_text_that_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        LogPosition.parse(text)


async def test_a_log_on_another_node_is_read_there(tmp_path: Path) -> None:
    path, ran = tmp_path / "scraper.log", list[str]()

    async def run(function: Callable[..., object], *arguments: object) -> object:
        moved, given = pickle.loads(pickle.dumps((function, arguments)))  # as Ray does
        ran.append(function.__name__)
        return moved(*given)

    path.write_text("one\ntwo\n")
    assert await last_lines(path, 1, run) == ["two"]
    lines = follow(path, 1, run=run)
    assert await _next(lines) == ["two"]
    with path.open("a") as log:
        log.write("three\n")
    assert await _next(lines) == ["three"]
    assert ran[:3] == ["_read_end", "_read_end", "_read_on"]
