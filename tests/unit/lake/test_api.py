"""The functions of `cryptoviz.lake` exist independent of earlier imports."""

from __future__ import annotations

import pkgutil

import cryptoviz.lake


def test_no_module_hides_a_function_of_its_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(cryptoviz.lake.__path__)}
    assert not modules & set(cryptoviz.lake.__all__)
