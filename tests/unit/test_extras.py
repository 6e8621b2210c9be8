"""The extras: what each brings, and that the shared package needs none of them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cryptoviz import extras
from cryptoviz.errors import MissingExtra
from cryptoviz.extras import EXTRAS, require_extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FIXED = {"ray", "raydp", "grpcio", "protobuf", "httpx", "confluent-kafka", "pyarrow", "minio", "panel", "redis"}
OPENTELEMETRY = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
ON_DEMAND = {("rows.py", "polars"), ("certificates.py", "cryptography"), *(("otel.py", name) for name in (*OPENTELEMETRY, "requests"))}
"""Imports of a package of an extra: in a method, and in a file that is imported only where the extra is installed."""
NAMESPACES = {
    "google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos",
    "opentelemetry.trace": OPENTELEMETRY[0], "opentelemetry.sdk": OPENTELEMETRY[1], "opentelemetry.exporter": OPENTELEMETRY[2],
}  # fmt: skip


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", each, maxsplit=1)[0] for each in requirements}


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports anywhere; only for types is as good, since the package is typed."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def distribution(module: str) -> str | None:
    """The distribution of a module; None for the standard library and this project."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "cryptoviz":
        return None
    if top in ("google", "opentelemetry"):
        return NAMESPACES[".".join(module.split(".")[:2])]
    return _distributions()[top][0].lower().replace("_", "-")


def test_an_extra_names_the_modules_of_its_packages() -> None:
    declared = {extra: names(packages) - {"cryptoviz"} for extra, packages in PROJECT["optional-dependencies"].items()}
    declared["pipeline"] |= declared["dashboard"]  # `cryptoviz[dashboard]`
    assert {extra: {distribution(module) for module in modules} for extra, modules in EXTRAS.items()} == declared


def test_the_shared_package_imports_what_a_plain_install_brings() -> None:
    found = {(path.name, distribution(module)) for path in (ROOT / "cryptoviz").rglob("*.py") for module in imports_of(path)}
    assert found >= ON_DEMAND
    assert {package for _, package in found - ON_DEMAND} - {None} == names(PROJECT["dependencies"])


def test_the_fixed_packages_are_among_the_dependencies() -> None:
    everything = names(PROJECT["dependencies"]).union(*map(names, PROJECT["optional-dependencies"].values()))
    assert everything >= FIXED


def test_a_missing_extra_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in EXTRAS:
        require_extra(extra, "this test")
    monkeypatch.setitem(extras.EXTRAS, "pipeline", ("ray", "no_such_module", "nor_this"))
    with pytest.raises(MissingExtra) as missing:
        require_extra("pipeline", "`cryptoviz up`")
    assert (missing.value.extra, missing.value.modules) == ("pipeline", ("no_such_module", "nor_this"))
    assert str(missing.value) == "`cryptoviz up` needs no_such_module, nor_this, which are not installed: pip install 'cryptoviz[pipeline]'"
