"""The examples of README and docs/: shell commands and Python blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "Command", "commands", "python_blocks"]

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?cryptoviz (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One `cryptoviz ...` line: its page and its arguments, without the comment."""

    page: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.arguments)}"


def commands() -> list[Command]:
    """Every command of every shell block."""
    found = []
    for page in PAGES:
        for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in ("", "bash", "console", "sh", "text"):
                found += [Command(page.name, tuple(shlex.split(line, comments=True))) for line in _COMMAND.findall(block)]
    return list(dict.fromkeys(found))


def python_blocks(page: str) -> list[str]:
    """The Python blocks of a page, by its name relative to the project."""
    return [block for language, block in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if language == "python"]
