"""Commits of a lake table, from its Delta log."""

from __future__ import annotations

import json
from typing import Any

from pyarrow.fs import FileSelector

from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.parts import parse_part
from cryptoviz.settings import Settings

__all__ = ["table_commits"]


def table_commits(settings: Settings, table: str = "prices") -> list[dict[str, Any]]:
    """Time stamp (UTC epoch ms), added paths, their bytes and rows of each commit that is still in the table's log."""
    files, log = S3Access.of(settings.s3).filesystem(), f"{table_address(settings.s3, table).root}/_delta_log"
    commits = []
    for entry in files.get_file_info(FileSelector(log)):
        if not entry.path.endswith(".json"):
            continue
        actions = [json.loads(line) for line in files.open_input_stream(entry.path).read().decode().splitlines()]
        stamp = next((action["commitInfo"]["timestamp"] for action in actions if "commitInfo" in action), None)
        if stamp is not None:
            # Not the files that maintenance has merged: their rows have been counted.
            adds = [action["add"] for action in actions if "add" in action and parse_part(action["add"]["path"]) is not None]
            rows = sum(json.loads(add["stats"])["numRecords"] for add in adds)
            commits.append({"timestamp": stamp, "paths": [add["path"] for add in adds], "bytes": sum(add["size"] for add in adds), "rows": rows})
    return commits
