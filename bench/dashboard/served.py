"""The page's server as a process of its own, with one tick of all coins every two seconds; with `--lake`, on a lake with 30 days of minutes.

With `--coins` that many coins are added, whose prices are their ranks, and change by up to a hundredth with each tick.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from deltalake import write_deltalake

from cryptoviz.engines.build import build_engine
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.schema import PARTITION_BY
from cryptoviz.settings import Settings
from dashboard.feeds.history_cache import History
from dashboard.feeds.lake_history import LakeHistory
from tests.support.clock import now_ms
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, price_table, record, walk

_HISTORY_TICKS = 120
_MINUTE_MS = 60_000
STORED_MINUTES = 30 * 24 * 60


@contextmanager
def lake(settings: Settings) -> Iterator[LakeHistory]:
    """An object store with a price of one coin for each minute of 30 days, as an own file for each day."""
    engine = build_engine("object-store", settings)
    engine.start()
    try:
        first = now_ms() // _MINUTE_MS * _MINUTE_MS - STORED_MINUTES * _MINUTE_MS
        rows = [record("bitcoin", first + minute * _MINUTE_MS, 90_000 + minute % 997) for minute in range(STORED_MINUTES)]
        address = table_address(settings.s3, "prices").uri
        write_deltalake(address, price_table(rows), mode="append", partition_by=list(PARTITION_BY), storage_options=settings.s3.storage_options())
        yield LakeHistory(settings)
    finally:
        engine.stop()


def main() -> None:
    """Print the address, then tick until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", action="store_true")
    parser.add_argument("--coins", type=int, default=0)
    arguments = parser.parse_args()
    coins = list(BASE_PRICES)
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        app_context = stack.enter_context(new_app_context(Path(home)))
        if arguments.lake:
            app_context = replace(app_context, history=History(stack.enter_context(lake(app_context.settings))))
        first = now_ms() // TICK_MS * TICK_MS - _HISTORY_TICKS * TICK_MS
        for asset in coins:
            app_context.live.apply(walk(asset, first, _HISTORY_TICKS))
        print(stack.enter_context(serving(app_context)), flush=True)
        for number in range(1, 10_000):
            tick = first + (_HISTORY_TICKS + number) * TICK_MS
            added = [
                record(f"coin-{rank:05d}", tick, rank * (1 + number % 7 * rank % 11 / 1000), rank=rank) for rank in range(1, arguments.coins + 1)
            ]
            app_context.live.apply([walk(asset, tick, 1)[0] for asset in coins] + added)
            time.sleep(TICK_MS / 1000)


if __name__ == "__main__":
    main()
