"""docs/dependencies.md names every direct dependency, and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Engines and the page's script are in the same tables and are not Python packages.
ENGINES = {
    "lightweight-charts 5.2.1 (in `dashboard/web/vendor`)",
    "Apache Kafka 4.3.1",
    "Spark's Kafka source 3.5.7",
    "MinIO `v0.0.0-20260212201848-7aac2a2c5b7c`",
}


def test_the_list_is_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    wanted = [*project["project"]["dependencies"], *(each for group in groups for each in group)]
    names = {re.split(r"[^A-Za-z0-9-]", each, maxsplit=1)[0] for each in wanted} - {"cryptoviz"}
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    listed = {name.strip() for row in rows for name in row.split(",")} - {"package", "engine"} - ENGINES
    assert listed == names
