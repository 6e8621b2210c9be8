"""The page's server as a process of its own, with one tick of all coins a second and nothing behind it: what is measured is the page."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.support.clock import now_ms
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, walk

_HISTORY_TICKS = 120


def main() -> None:
    """Print the address, then tick until the standard input ends the process."""
    coins = list(BASE_PRICES)
    with tempfile.TemporaryDirectory() as home, new_app_context(Path(home)) as app_context:
        first = now_ms() // TICK_MS * TICK_MS - _HISTORY_TICKS * TICK_MS
        for asset in coins:
            app_context.live.apply(walk(asset, first, _HISTORY_TICKS))
        with serving(app_context) as url:
            print(url, flush=True)
            number = _HISTORY_TICKS
            while True:
                number += 1
                app_context.live.apply([walk(asset, first + number * TICK_MS, 1)[0] for asset in coins])
                time.sleep(TICK_MS / 1000)


if __name__ == "__main__":
    main()
