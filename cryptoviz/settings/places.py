"""Location where a refused setting was set: a line of `.env`, or a variable with a different name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptoviz.errors import SettingsError
from cryptoviz.settings.network import SHELL_NAMES
from cryptoviz.settings.seed_names import SEED_NAMES

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Names set in the environment and in the `.env` file.

    Attributes:
        lines: line of each name in `.env`.
    """

    environment: Mapping[str, str]
    dotenv: Path
    lines: Mapping[str, int]

    def added_to(self, error: SettingsError) -> SettingsError:
        """The error with the locations of its settings appended, unless the text already contains the variable."""
        names = error.settings or (error.setting,)
        found = [place for name in dict.fromkeys(names) if (place := self._of(str(name), others=len(names) > 1))]
        return error.with_message(f"{error.message} ({'; '.join(found)})") if found else error

    def _of(self, setting: str, *, others: bool) -> str:
        for where in (self.environment, self.lines):
            for name in _names_of(setting):
                ours = name.startswith("CRYPTOVIZ_")
                given = next((one for one in where if one == name or (ours and one.upper() == name)), None)
                if given is None and name == setting.upper():
                    # Part of a table or section that is refused as a whole.
                    given = next((one for one in where if ours and one.upper().startswith(f"{name}__")), None)
                if given is None:
                    continue
                if where is self.environment:
                    return "" if given.upper().startswith(setting.upper()) else f"{setting} is set by {given}"
                line = f"line {self.lines[given]} of {self.dotenv.absolute()}"
                if given.upper() != setting.upper():
                    return f"{setting} is set by {given} in {line}"
                return f"{setting}: {line}" if others else line
        return ""


def _names_of(setting: str) -> Iterator[str]:
    """Names that can set a setting, in order of precedence: its own, its sections, those of the predecessor, those of the shell."""
    upper = setting.upper()
    yield upper
    parts = upper.split("__")
    for end in range(len(parts) - 1, 0, -1):
        yield "__".join(parts[:end])
    if upper == "CRYPTOVIZ_CRYPTO_LIST":
        yield "CRYPTO_LIST"
    for names in (SEED_NAMES, SHELL_NAMES):
        for name, path in names.items():
            if upper == "CRYPTOVIZ_" + "__".join(path).upper():
                yield name
    if not upper.startswith("CRYPTOVIZ_"):
        yield setting
