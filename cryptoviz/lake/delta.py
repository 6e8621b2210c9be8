"""Delta tables opened with the settings alone.

The library below fills options that are not given from the environment: `AWS_SESSION_TOKEN` of the user's shell would go to our store,
`AWS_ENDPOINT` would lead elsewhere, and its HTTP client follows `http_proxy`. No other module opens a table.
"""

from __future__ import annotations

from typing import Any, cast

import deltalake

from cryptoviz.settings.shell import without_the_shell

__all__ = ["DeltaTable"]


class DeltaTable(deltalake.DeltaTable):
    """`deltalake.DeltaTable`, whose store is set up without the shell's variables."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with without_the_shell():
            super().__init__(*arguments, **options)

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> DeltaTable:
        """As the library's."""
        with without_the_shell():
            return cast("DeltaTable", super().create(*arguments, **options))  # the library makes a `cls`
