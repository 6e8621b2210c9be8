"""The tests named in README and docs/ exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import PAGES

ROOT = Path(__file__).parents[2]
_SUITES = "unit|integration|chaos|browser|model"
# `tests/unit/test_x.py`, `unit/test_x.py::test_name`, or `::test_name` for another test of the file named before it.
_NAMED = re.compile(rf"`(?:((?:tests/)?(?:{_SUITES})/[\w/]+\.py)(?:::(\w+))?|::(\w+))(?: [^`]*)?`")
EVIDENCE = ("security.md", "regressions.md", "providers.md", "faults.md")
"""Pages whose statements must name tests."""


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)))


def named_tests(page: Path) -> list[tuple[str, str]]:
    """Path and test of each name on the page; without a test, the empty string."""
    found: list[tuple[str, str]] = []
    for path, test, other in _NAMED.findall(page.read_text(encoding="utf-8")):
        if path:
            found.append((path if path.startswith("tests/") else f"tests/{path}", test))
        elif found:
            found.append((found[-1][0], other))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = named_tests(page)
    assert named or page.name not in EVIDENCE
    missing = [f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or (name and name not in functions(path))]
    assert missing == []
