"""How far the lake job has read the stream topic."""

from __future__ import annotations

from cryptoviz.lake.delta import open_table
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.settings import Settings
from tests.support.waiting import eventually

__all__ = ["Position", "lake_position", "wait_for"]

Position = dict[int, int]
"""Partition to the next offset that the prices table will read."""


def lake_position(settings: Settings) -> Position:
    """Progress of the prices table, from its log."""
    address = table_address(settings.s3, "prices")
    table = open_table(address.uri, settings.s3.storage_options())
    progress = None if table is None else read_progress(table)
    return {partition: offset for (_, partition), offset in progress.offsets.items()} if progress else {}


def wait_for(settings: Settings, ends: Position, timeout_s: float, every_s: float = 0.1) -> None:
    """Wait until the prices table has reached `ends`. Raises AssertionError on a timeout."""

    def reached() -> bool:
        position = lake_position(settings)
        assert all(position.get(partition, 0) >= end for partition, end in ends.items()), f"the lake is at {position} and should be at {ends}"
        return True

    eventually(reached, timeout_s, every_s)
