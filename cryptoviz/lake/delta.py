"""Opens Delta tables with the settings alone. No other module opens a table.

delta-rs takes missing options from the environment: `AWS_SESSION_TOKEN` of the user's shell would be sent to the configured store, `AWS_ENDPOINT`
would redirect requests, and its HTTP client uses `http_proxy`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, TypeVar, cast

import deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from cryptoviz.lake.store_errors import CLIENT_ERRORS
from cryptoviz.local.shell import without_the_shell

__all__ = ["TABLE_ERRORS", "DeltaTable", "open_table", "read_newest"]

T = TypeVar("T")
_TRIES = 4

TABLE_ERRORS: tuple[type[Exception], ...] = (*CLIENT_ERRORS, DeltaError, OSError)
"""Errors of reading or writing a table when the store refuses a request or does not answer, for `store_errors`. pyarrow raises OSError."""


class DeltaTable(deltalake.DeltaTable):
    """`deltalake.DeltaTable` that ignores the shell's variables. `endpoint`: of the store; empty for a folder."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.endpoint = _endpoint(options)
        with _settings_alone(options):
            super().__init__(*arguments, **options)

    def open_file(self, path: str, size: int) -> BinaryIO:
        """Open a data file of `size` bytes, without a request."""
        return cast("BinaryIO", DeltaStorageHandler.from_table(self._table, self._storage_options, {path: size}).open_input_file(path))

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> DeltaTable:
        with _settings_alone(options):
            return cast("DeltaTable", super().create(*arguments, **options))  # the library returns a `cls`


def open_table(uri: str, options: dict[str, str]) -> DeltaTable | None:
    """The table at its newest version; None before its first commit. Raises TABLE_ERRORS."""
    try:
        return DeltaTable(uri, storage_options=options)
    except TableNotFoundError:
        return None


def read_newest(uri: str, options: dict[str, str], read: Callable[[DeltaTable], T]) -> T | None:
    """The result of `read` for the newest version; None before the table's first commit.

    Maintenance deletes the files that it replaces at once, so `read` may not find a file of its version: it is then called for the next one.

    Raises:
        TABLE_ERRORS: the store does not answer, or maintenance replaced files during every try.
    """
    for last in (*(False,) * (_TRIES - 1), True):
        table = open_table(uri, options)
        if table is None:
            return None
        try:
            return read(table)
        except TABLE_ERRORS:
            newer = None if last else open_table(uri, options)
            if newer is None or newer.version() == table.version():
                raise
    raise AssertionError("the last try returns or raises")  # pragma: no cover


def _settings_alone(options: dict[str, Any]) -> AbstractContextManager[None]:
    """The environment for one opening. A folder on the disk needs no change of it, a store without TLS no change of the authorities."""
    endpoint = _endpoint(options)
    return without_the_shell(authorities=not endpoint.startswith("http://")) if endpoint else nullcontext()


def _endpoint(options: dict[str, Any]) -> str:
    return str((options.get("storage_options") or {}).get("AWS_ENDPOINT_URL", ""))
