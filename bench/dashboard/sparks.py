"""Bytes of the sparklines of a thousand coins, in the HTML and in the message with the week of the lake (`python -m bench.dashboard.sparks`).

The channel is not compressed; what zlib would make of it is printed beside. Prices are random walks with the digits of an exchange's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptoviz.records import UnifiedRecord
from dashboard.feeds.history_cache import Closes, History
from tests.support.clock import now_ms
from tests.support.dashboard_server import NoHistory, new_app_context, serving
from tests.support.measure import load, machine
from tests.support.page_client import PageClient
from tests.support.page_stack import TICK_MS, record

_HOURS, _TICKS = 169, 180


class Weeks(NoHistory):
    """A lake with a week of hourly closes of each coin."""

    def __init__(self, walks: Mapping[str, Sequence[float]]) -> None:
        self._walks = walks

    def closes(self, since_ms: int) -> Closes:  # noqa: ARG002
        return {asset: {"USD": walk} for asset, walk in self._walks.items()}


def _walk(chance: random.Random, count: int) -> list[float]:
    price, found = 10 ** chance.uniform(-3, 5), []
    for _ in range(count):
        price *= 1 + chance.gauss(0, 0.006)
        found.append(float(f"{price:.8g}"))
    return found


def _ticks(walks: Mapping[str, Sequence[float]], tick_ts: int, at: int) -> list[UnifiedRecord]:
    return [replace(record("bitcoin", tick_ts, walk[at]), asset_id=asset, name=asset, symbol=asset) for asset, walk in walks.items()]


async def _visit(url: str) -> dict[str, Any]:
    """The HTML, and the first message of sparklines that have an hour."""
    seen: dict[str, Any] = {}
    done = asyncio.Event()

    def note(message: Mapping[str, Any]) -> None:
        found = message["parts"].get("sparks") or {}
        if any(line[0] for line in found.values()) and not done.is_set():
            seen.update(message=client.frame.encode(), took_s=round(time.monotonic() - started, 2))
            done.set()

    client, started = PageClient(url, note), time.monotonic()
    await client.open()
    listening = asyncio.create_task(client.listen())
    async with asyncio.timeout(120):
        await done.wait()
    client.close()
    await listening
    return seen | {"html": client.page}


def main() -> int:
    """Print the figures as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1000)
    arguments = parser.parse_args()
    chance = random.Random(7)
    names = [f"coin-{number:04}" for number in range(arguments.coins)]
    weeks, ticks = ({name: _walk(chance, count) for name in names} for count in (_HOURS, _TICKS))
    print(f"{machine()}; load {load()}", flush=True)
    with tempfile.TemporaryDirectory() as home, new_app_context(Path(home)) as made:
        app_context = replace(made, history=History(Weeks(weeks)))
        first = now_ms() // TICK_MS * TICK_MS - _TICKS * TICK_MS
        for number in range(_TICKS):
            app_context.live.apply(_ticks(ticks, first + number * TICK_MS, number))
        with serving(app_context) as url:
            seen = asyncio.run(_visit(url))
    figures = {name: {"bytes": len(seen[name]), "zlib": len(zlib.compress(seen[name], 6))} for name in ("html", "message")}
    print(json.dumps({"coins": arguments.coins, "took_s": seen["took_s"], **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
