"""View logic is pure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dashboard.views

FOLDER = Path(str(dashboard.views.__file__)).parent
ALLOWED_ROOTS = {
    "__future__",
    "collections",
    "contextvars",
    "cryptoviz",
    "dashboard",
    "dataclasses",
    "datetime",
    "enum",
    "html",
    "itertools",
    "json",
    "math",
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
