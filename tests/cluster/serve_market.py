"""`python -m tests.cluster.serve_market ADDRESS PORT FOLDER`: the replay market on an address that other hosts reach, with its log in FOLDER."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from market.server import MarketConfig, ReplayMarket


async def _serve(address: str, port: int, folder: Path) -> None:
    async with ReplayMarket(MarketConfig(port, address, home=folder)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
