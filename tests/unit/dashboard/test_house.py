"""View logic is pure, and pages speak the language of their reader."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import dashboard.views
from dashboard.views.texts_phrases import FRENCH

FOLDER = Path(str(dashboard.views.__file__)).parent
ALLOWED_ROOTS = {
    "__future__",
    "base64",
    "bisect",
    "collections",
    "contextvars",
    "cryptoviz",
    "dashboard",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "html",
    "itertools",
    "json",
    "math",
    "msgspec",
    "re",
    "statistics",
    "typing",
}


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_view_logic_imports_neither_panel_nor_any_service(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= ALLOWED_ROOTS
    assert all(name.startswith("dashboard.views") for name in names if name.startswith("dashboard"))


WRITERS = sorted(path for folder in ("views", "pages") for path in (FOLDER.parent / folder).glob("*.py") if not path.name.startswith("texts"))
NOT_SHOWN = {"alert_refusals.py"}
"""Modules whose English is only compared with."""
NO_LANGUAGE = {
    "UTC", "ms", "SQL", "width", "&nbsp; ", "total", '"level":"', "text/csv; charset=utf-8", "Ray dashboard", "MinIO console", "Spark UI",
    "on the page, by ",
}  # fmt: skip
"""Units, CSS, names of metrics, products and types; and the reason that the control service records."""


def constants(tree: ast.Module) -> dict[int, ast.Constant]:
    """String constants by identity, without docstrings."""
    found = {id(node): node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.pop(id(node.value), None)
    return found


def english_in_f_strings(tree: ast.Module) -> list[str]:
    """Pieces of f-strings with words that are neither a class, an attribute, nor a part's name."""
    found = []
    for string in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        for piece in string.values:
            words = str(piece.value) if isinstance(piece, ast.Constant) else ""
            if words in NO_LANGUAGE or "=" in words or "<" in words or re.search(r"(^|\s)cv-", words):
                continue
            found += [f"{string.lineno}: {words!r}"] if set(re.findall(r"(?<![-_.{/])\b[A-Za-z]{2,}\b(?![-_./])", words)) - NO_LANGUAGE else []
    return found


@pytest.mark.parametrize("module", WRITERS, ids=lambda path: path.name)
def test_no_sentence_is_made_of_english_pieces(module: Path) -> None:
    """A page in French gets whole phrases from `say`, whose order of words is that of the language."""
    assert module.name in NOT_SHOWN or english_in_f_strings(ast.parse(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("module", WRITERS, ids=lambda path: path.name)
def test_every_phrase_has_its_french(module: Path) -> None:
    if module.name in NOT_SHOWN:
        return
    tree = ast.parse(module.read_text(encoding="utf-8"))
    sentence = re.compile(r"[A-Za-z`{+…,(]+[^-_<=]* [a-z{`]\S*")
    phrases = [
        node.value
        for node in constants(tree).values()
        if isinstance(node.value, str) and sentence.match(node.value) and "SELECT" not in node.value and not re.search(r"(^|\s)cv-", node.value)
    ]
    said = [
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "say" and call.args
        if isinstance(call.args[0], ast.Constant)
    ]
    assert {str(phrase) for phrase in (*phrases, *said)} - set(FRENCH) - NO_LANGUAGE == set()


def test_a_phrase_and_its_french_have_the_same_values() -> None:
    def fields(phrase: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(phrase) if name}

    assert {phrase: french for phrase, french in FRENCH.items() if fields(phrase) != fields(french)} == {}


@pytest.mark.parametrize("module", WRITERS, ids=lambda path: path.name)
def test_numbers_are_written_in_one_place(module: Path) -> None:
    """By the language of the page. `plain_number` is for style sheets and drawings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    specs = [ast.unparse(node.format_spec) for node in ast.walk(tree) if isinstance(node, ast.FormattedValue) and node.format_spec is not None]
    assert module.name == "numbers.py" or [spec for spec in specs if re.search(r"[,_%]|\.\d+[efg%]", spec)] == []


def test_no_phrase_is_said_before_the_language_is_known() -> None:
    """At import `say` speaks English, whatever page is shown later."""
    said = []
    for module in WRITERS:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        at_import = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))]
        called = [call.func.id for node in at_import for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
        said += [f"{module.name}: {name}" for name in called if name in ("say", "state_markup", "format_count", "format_price")]
    assert said == []
