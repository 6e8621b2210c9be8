"""Names of settings. Unknown names are refused, because a misspelt name would otherwise have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from cryptoviz.errors import SettingsError
from cryptoviz.nearest import nearest
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS
from cryptoviz.settings.seed_names import SEED_NAMES

__all__ = [
    "CLUSTER_VARIABLE", "INTERNAL_NAMES", "LAKE_RUN_VARIABLE", "PREFIX", "SETTINGS_FILE_VARIABLE", "check_names", "check_overrides", "known_names",
    "unknown_name",
]  # fmt: skip

PREFIX = "CRYPTOVIZ_"
SETTINGS_FILE_VARIABLE = f"{PREFIX}SETTINGS_FILE"
"""Path of a file written by `dump_settings_file`."""
CLUSTER_VARIABLE = f"{PREFIX}CLUSTER"
"""Home of the pipeline, in every Ray process of its cluster."""
LAKE_RUN_VARIABLE = f"{PREFIX}LAKE_RUN"
"""Run of an executor's Python workers, so that a later run can find orphans."""
INTERNAL_NAMES = frozenset((SETTINGS_FILE_VARIABLE, CLUSTER_VARIABLE, LAKE_RUN_VARIABLE))
"""Variables that the project's processes pass to each other."""
_TESTS = "CRYPTOVIZ_TEST_"
_FLAT_NAMES = (*SEED_NAMES, "CRYPTO_LIST")
_SECTION_MARK = "__"
_ALIKE = 0.85
_VERY_ALIKE = 0.9
_LISTS = "`cryptoviz config` lists all"


def known_names(tree: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    """Names of all settings and sections; tables by provider are expanded for the built-in providers."""
    for name, field in tree.model_fields.items():
        full = f"{prefix}{name.upper()}"
        yield full
        inner, by_provider = _inner(field.annotation)
        if inner is None:
            continue
        if not by_provider:
            yield from known_names(inner, f"{full}{_SECTION_MARK}")
            continue
        for provider in BUILT_IN_PROVIDERS:
            yield f"{full}{_SECTION_MARK}{provider.upper()}"
            yield from known_names(inner, f"{full}{_SECTION_MARK}{provider.upper()}{_SECTION_MARK}")


def check_names(tree: type[BaseModel], environment: Iterable[str], dotenv: Iterable[str]) -> None:
    """Raise SettingsError for an unknown or misspelt setting in the environment or `.env`. Variables of other programs are ignored."""
    for name in environment:
        upper = name.upper()
        if upper not in INTERNAL_NAMES and not upper.startswith(_TESTS):
            _check(tree, name)
    for name in dotenv:
        _check(tree, name)
        if name.upper().startswith(PREFIX) or name in _FLAT_NAMES or name.upper() == "CRYPTO_LIST" or name.upper().endswith("_FILE"):
            continue
        near = nearest(name, _FLAT_NAMES, _VERY_ALIKE)
        if near is not None:
            raise SettingsError(f"{name} is not a setting: did you mean {near}? {_LISTS}", setting=name)


def check_overrides(tree: type[BaseModel], overrides: Mapping[str, Any]) -> None:
    """Raise SettingsError for an unknown argument. Names inside sections are checked by the sections."""
    for name in overrides:
        if name not in tree.model_fields:
            raise unknown_name(tree, f"{PREFIX}{name.upper()}")


def unknown_name(tree: type[BaseModel], name: str) -> SettingsError:
    """The error for an unknown name, with the most similar valid name. Its value is not shown, because it may be a key."""
    upper = name.upper()
    valid = set(known_names(tree))
    parts = upper.removeprefix(PREFIX).split(_SECTION_MARK)
    if parts[0] == "PROVIDERS" and len(parts) > 2:
        # Keep the provider as written: it may be a third-party provider.
        valid |= {
            one.replace(f"__{BUILT_IN_PROVIDERS[0].upper()}", f"__{parts[1]}", 1) for one in valid if f"__{BUILT_IN_PROVIDERS[0].upper()}__" in one
        }
    # The right field without its section or in a different section is a better suggestion than a similar word.
    same_field = [one for one in sorted(valid) if one.rpartition(_SECTION_MARK)[2] == parts[-1] and one.count(_SECTION_MARK) == 1]
    near = nearest(upper, valid, _VERY_ALIKE) or (same_field[0] if len(same_field) == 1 else None) or nearest(upper, valid, 0.75)
    hint = f"did you mean {near}? " if near else ""
    return SettingsError(f"{name} is not a setting: {hint}{_LISTS}", setting=name)


def _check(tree: type[BaseModel], name: str) -> None:
    upper = name.upper()
    if upper.startswith(PREFIX):
        if upper == f"{PREFIX}PROFILE":
            text = f"{name} cannot be set: the command selects the profile, live by `cryptoviz up` and demo by `cryptoviz demo`"
            raise SettingsError(text, setting=name)
        if not _is_known(tree, upper.removeprefix(PREFIX).lower().split(_SECTION_MARK)):
            raise unknown_name(tree, name)
        return
    parts = upper.split("_")
    for words in (1, 2):
        ours, rest = "".join(parts[:words]), "_".join(parts[words:])
        if rest and nearest(ours, (PREFIX.rstrip("_"),), _ALIKE) and nearest(f"{PREFIX}{rest}", known_names(tree), _VERY_ALIKE):
            raise unknown_name(tree, name)


def _is_known(tree: type[BaseModel], parts: list[str]) -> bool:
    node: type[BaseModel] | None = tree
    rest = list(parts)
    while rest:
        field = node.model_fields.get(rest.pop(0)) if node is not None else None
        if field is None:
            return False
        node, by_provider = _inner(field.annotation)
        if by_provider and rest and not rest.pop(0):
            return False
    return True


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section type of a field, and whether the field is a table of sections by provider."""
    by_provider = get_origin(annotation) is dict
    inner = get_args(annotation)[1] if by_provider else annotation
    is_section = isinstance(inner, type) and issubclass(inner, BaseModel)  # not of a plain table, such as that of headers
    return (inner, by_provider) if is_section else (None, False)
