"""The environment and the `.env` file as sources of the tree: values of sections are JSON, values of lists JSON or text with commas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from cryptoviz.errors import SettingsError

__all__ = ["DotenvValues", "EnvValues"]


class _Decoding(EnvSettingsSource if TYPE_CHECKING else object):  # type: ignore[misc]
    """Beside a source of the library."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The value of a list or section.

        Raises:
            SettingsError: neither form; names the variable and what is valid.
        """
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # A text that stands where no field is known is judged with its whole section.
            if field is None or not isinstance(value, str):
                raise
            is_list = get_origin(field.annotation) is tuple
            if is_list and get_args(field.annotation)[0] is str and not value.lstrip().startswith(("[", "{")):
                return [part.strip() for part in value.split(",") if part.strip()]
            name = _variable(self.env_vars, field_name, value)
            valid = "a JSON list, or texts with commas between them" if is_list and get_args(field.annotation)[0] is str else "JSON"
            valid = "a JSON list of objects" if is_list and valid == "JSON" else valid
            # The value is not shown: a section can hold a secret.
            raise SettingsError(f"{name} cannot be read: valid is {valid}", setting=name) from None


def _variable(names: Mapping[str, str | None], field_name: str, value: str) -> str:
    """The variable that holds the value of a field, as it is written in the documentation."""
    ending = field_name.upper()
    found = next((name for name, one in names.items() if one == value and name.upper().endswith(ending)), f"CRYPTOVIZ_{field_name}")
    return found.upper()


class EnvValues(_Decoding, EnvSettingsSource):
    """The environment."""


class DotenvValues(_Decoding, DotEnvSettingsSource):
    """The `.env` file."""
