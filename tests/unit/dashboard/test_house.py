"""Rules of the house: view logic is pure, origins are exact."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dashboard.view_logic
from cryptoviz.settings import load_settings
from dashboard.app import allowed_origins

FOLDER = Path(str(dashboard.view_logic.__file__)).parent
ALLOWED_ROOTS = {"cryptoviz", "dashboard", "__future__", "collections", "dataclasses", "datetime", "enum", "html", "itertools", "math", "statistics"}


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_view_logic_imports_neither_panel_nor_any_service(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= ALLOWED_ROOTS
    assert all(name.startswith("dashboard.view_logic") for name in names if name.startswith("dashboard"))


def test_origins_are_loopback_and_what_the_settings_name() -> None:
    settings = load_settings(dashboard={"port": 5006, "allow_origins": ["prices.example.org:443", "*", "*:5006"]})
    assert allowed_origins(settings) == ["127.0.0.1:5006", "localhost:5006", "prices.example.org:443"]
