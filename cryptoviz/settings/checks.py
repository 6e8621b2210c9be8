"""What settings say together: values that are valid each for itself and contradict each other, and names that nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptoviz.errors import SettingsError
from cryptoviz.settings.check_assets import check_assets
from cryptoviz.settings.check_collection import check_collection
from cryptoviz.settings.check_engines import check_engines

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["check_settings"]


def check_settings(settings: Settings) -> None:
    """Look at the tree as a whole; at nothing outside of it (`files.check_files`).

    Raises:
        SettingsError: names the setting, both values where two contradict each other, and what is valid.
    """
    if settings.home == settings.cache:
        text = f"CRYPTOVIZ_HOME and CRYPTOVIZ_CACHE are both {str(settings.home)!r}: the home has to be a folder for the pipeline alone"
        raise SettingsError(text, setting="CRYPTOVIZ_CACHE", settings=("CRYPTOVIZ_CACHE", "CRYPTOVIZ_HOME"))
    check_assets(settings.crypto_list, settings.extra_assets, settings.collect.providers)
    check_collection(settings)
    check_engines(settings)
