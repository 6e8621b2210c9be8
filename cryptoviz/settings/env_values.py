"""Environment and `.env` file as sources of settings. Sections are JSON; lists are JSON or comma-separated text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from cryptoviz.errors import SettingsError
from cryptoviz.settings.seed_names import read_dotenv

__all__ = ["DotenvValues", "EnvValues"]


class _Decoding(EnvSettingsSource if TYPE_CHECKING else object):  # type: ignore[misc]
    """Mixin for the sources of pydantic-settings."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Parse the value of a list or section.

        Raises:
            SettingsError: not valid; contains the variable and what is valid.
        """
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # A value of an unknown field is checked with its section.
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
    """Name of the variable with the value of a field, in capitals as in the documentation."""
    ending = field_name.upper()
    found = next((name for name, one in names.items() if one == value and name.upper().endswith(ending)), f"CRYPTOVIZ_{field_name}")
    return found.upper()


class EnvValues(_Decoding, EnvSettingsSource):
    """The environment."""


class DotenvValues(_Decoding, DotEnvSettingsSource):
    """The `.env` file, read by `read_dotenv` alone: the library would also read a file that another user could have written, or a named pipe."""

    def _read_env_files(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in read_dotenv(self.settings_cls).items()}
