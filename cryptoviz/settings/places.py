"""Where a setting that is refused was set: a line of `.env`, or another name than the setting's own."""

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
    """What the environment and the `.env` file set, by name.

    Attributes:
        lines: of the names in `.env`.
    """

    environment: Mapping[str, str]
    dotenv: Path
    lines: Mapping[str, int]

    def told(self, error: SettingsError) -> SettingsError:
        """The error with the places of its settings behind its text, unless each is only the variable that the text names anyway."""
        names = error.settings or (error.setting,)
        found = [place for name in dict.fromkeys(names) if (place := self._of(str(name), others=len(names) > 1))]
        return error.with_message(f"{error.message} ({'; '.join(found)})") if found else error

    def _of(self, setting: str, *, others: bool) -> str:
        for where in (self.environment, self.lines):
            for name in _names_of(setting):
                ours = name.startswith("CRYPTOVIZ_")
                given = next((one for one in where if one == name or (ours and one.upper() == name)), None)
                if given is None and name == setting.upper():
                    # A part of a table or section that is refused as a whole.
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
    """Names that can set it, the stronger first: its own, those of the sections around it, older ones, the shell's."""
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
