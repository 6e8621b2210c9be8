"""`python -m market --port N`: serve the replay market until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

from market.coins import simulated_coins
from market.dialects import DIALECTS
from market.server import MarketConfig, ReplayMarket


async def _serve(config: MarketConfig) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with ReplayMarket(config) as market:
        lines = [f"{name}: {market.base_url(name)}" for name in DIALECTS] + [f"control: {market.url}/_market/faults | limits | ledger | clock"]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    """Parse the command line and serve."""
    defaults = MarketConfig()
    parser = argparse.ArgumentParser(prog="python -m market", description=f"Serve prices of November 2022 with the APIs of {', '.join(DIALECTS)}.")
    parser.add_argument("--port", type=int, default=8999, help="loopback port; 0 selects a free port (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of the simulated values (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=defaults.speed, help="market seconds per second (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="folder of the request log (default: a temporary folder)")
    parser.add_argument("--trades-per-s", type=float, default=defaults.trades_per_s, help="of each instrument of the streams (default: %(default)s)")
    parser.add_argument("--simulated", type=int, default=0, help="coins SIM001.. without a recording, at all exchanges (default: %(default)s)")
    chosen = parser.parse_args()
    extra = simulated_coins(chosen.simulated)
    with contextlib.suppress(KeyboardInterrupt):
        config = MarketConfig(chosen.port, seed=chosen.seed, speed=chosen.speed, home=chosen.home, extra_assets=extra)
        asyncio.run(_serve(replace(config, trades_per_s=chosen.trades_per_s)))


if __name__ == "__main__":
    main()
