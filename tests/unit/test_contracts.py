"""Names and numbers on which two folders must agree are written in one module, and imported by the others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cryptoviz", "actors", "spark_jobs", "control", "dashboard", "market")
PLACES: dict[object, str] = {
    "cryptoviz:latest": "cryptoviz/redis_keys.py",
    "cryptoviz:latest:tick": "cryptoviz/redis_keys.py",
    "cryptoviz:quota": "cryptoviz/redis_keys.py",
    "cryptoviz:limit": "cryptoviz/redis_keys.py",
    "cryptoviz:control:{namespace}:desired": "cryptoviz/redis_keys.py",
    "cryptoviz:control:{namespace}:owner": "cryptoviz/redis_keys.py",
    "market-replay": "cryptoviz/components.py",
    "scraper/": "cryptoviz/components.py",
    "failures_total": "cryptoviz/components.py",
    "dead_letters_": "cryptoviz/components.py",
    "/healthz": "cryptoviz/local/heartbeat.py",
    "/api/v3/klines": "cryptoviz/providers/binance.py",
    "/0/public/OHLC": "cryptoviz/providers/kraken.py",
    "/market_chart/range": "cryptoviz/providers/coingecko.py",
    "_leases/": "spark_jobs/tables/lease.py",
    ".progress": "spark_jobs/maintenance/result.py",
    1_230_768_000_000: "cryptoviz/records.py",
    86_400_000: "cryptoviz/times.py",
}
# Epoch milliseconds of a datetime, and back; `cryptoviz.times` calculates with whole numbers, floats can lose a millisecond.
_CONVERSION = re.compile(r"timestamp\(\) \* 1_?000\b|fromtimestamp\([^)]* / 1_?000\b")


@pytest.fixture(scope="module")
def constants() -> dict[str, set[object]]:
    """By module, the constants of its code, without docstrings."""
    found: dict[str, set[object]] = {}
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        texts = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        found[path.relative_to(ROOT).as_posix()] = {node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in texts}
    return found


@pytest.mark.parametrize("value", PLACES)
def test_a_shared_name_is_written_once(value: object, constants: dict[str, set[object]]) -> None:
    # The replay market speaks the providers' protocols on its own, as the other side of the wire.
    assert {module for module, values in constants.items() if value in values and "/dialects/" not in module} == {PLACES[value]}


def test_every_key_in_redis_is_named_in_one_module(constants: dict[str, set[object]]) -> None:
    with_keys = {module for module, values in constants.items() if any(str(value).startswith("cryptoviz:") for value in values)}
    assert with_keys == {"cryptoviz/redis_keys.py"}


def test_times_are_converted_in_one_module() -> None:
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    assert [path.relative_to(ROOT).as_posix() for path in paths if _CONVERSION.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("line", ["round(now.timestamp() * 1000)", "datetime.fromtimestamp(now_ms / 1_000, UTC)"])
def test_the_check_finds_conversions(line: str) -> None:
    assert _CONVERSION.search(line)
