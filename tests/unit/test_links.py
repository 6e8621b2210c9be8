"""Relative links in README and docs/ have existing targets: file, heading and definition."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.documents import PAGES

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
# A link text such as `Class.method` names a definition in the file that it links to.
_NAME = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)?)`")


def links(page: Path) -> list[tuple[str, str]]:
    """Text and target of each relative link outside code blocks."""
    found = _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [(text, target) for text, target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Anchors of the headings, as GitHub derives them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@cache
def definitions(file: Path) -> frozenset[str]:
    """Module-level names, and names in module-level classes as `Class.name`."""
    found: set[str] = set()
    for prefix, body in _scopes(ast.parse(file.read_text(encoding="utf-8"))):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def _scopes(module: ast.Module) -> list[tuple[str, list[ast.stmt]]]:
    return [("", module.body), *((f"{node.name}.", node.body) for node in module.body if isinstance(node, ast.ClassDef))]


def problem(page: Path, text: str, target: str) -> str:
    path, _, anchor = target.partition("#")
    path, _, test = path.partition("::")
    file = (page.parent / unquote(path)).resolve() if path else page
    if not file.exists() or not file.is_relative_to(ROOT):
        return f"{target}: no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"{target}: no such heading"
    name = _NAME.fullmatch(text)
    for wanted in (test, name[1] if name and file.suffix == ".py" and name[1] != file.name else ""):
        if wanted and wanted not in definitions(file):
            return f"{target}: no definition of {wanted}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_a_heading_and_a_definition(page: Path) -> None:
    assert [found for text, target in links(page) if (found := problem(page, text, target))] == []


def test_the_check_finds_what_is_missing() -> None:
    page = ROOT / "docs" / "architecture.md"
    assert problem(page, "`unify`", "../actors/collecting/unify.py") == ""
    assert problem(page, "`unified`", "../actors/collecting/unify.py") != ""
    assert problem(page, "home", "#home") == ""
    assert problem(page, "home", "#house") != ""
    assert problem(page, "lake", "lakes.md") != ""
    assert problem(page, "a test", f"../tests/unit/{Path(__file__).name}::test_the_check_finds_what_is_missing") == ""
    assert problem(page, "a test", f"../tests/unit/{Path(__file__).name}::test_nothing") != ""
