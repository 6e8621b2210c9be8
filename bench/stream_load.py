"""The load of `bench.streams`: a market of 60 instruments in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.loaded_stream import VENUE
from bench.stream_figures import TradeValues
from cryptoviz.providers.asset import Asset
from market.coins import simulated_coins
from tests.support.streams import numbered_trades
from tests.support.waiting import eventually

__all__ = ["INSTRUMENTS", "MarketProcess", "coins", "market_process"]

SIMULATED = 43
INSTRUMENTS = 60
"""The 17 recorded coins, and simulated ones."""
_PAGE = 10_000


def coins() -> tuple[Asset, ...]:
    """The simulated coins."""
    return simulated_coins(SIMULATED)


@dataclass(frozen=True)
class MarketProcess:
    """The market, over HTTP."""

    url: str
    pid: int
    http: httpx.Client

    def burst(self, trades: int) -> None:
        """So many trades in the next second, over all instruments, instead of the usual ones."""
        per_s = trades / INSTRUMENTS
        body: dict[str, Any] = {"provider": VENUE, "kind": "trade_rate", "parameters": {"per_s": per_s}, "duration_s": 1}
        self.http.post("/_market/faults", json=body).raise_for_status()

    def symbols(self) -> list[str]:
        found: dict[str, str] = self.http.get("/_market/instruments").raise_for_status().json()[VENUE]
        return list(found)

    def made(self, symbol: str, first: int, last: int) -> dict[int, TradeValues]:
        """The trades of a symbol, by number."""
        found: dict[int, TradeValues] = {}
        next_id = first
        while next_id <= last:
            query: dict[str, str | int] = {"venue": VENUE, "symbol": symbol, "from_id": next_id, "limit": _PAGE}
            page = self.http.get("/_market/trades", params=query).raise_for_status().json()
            if not page["trades"]:
                break
            found |= numbered_trades(page["trades"], last)
            next_id = page["next_from_id"]
        return found


@contextlib.contextmanager
def market_process(port: int, home: Path, per_s: float) -> Iterator[MarketProcess]:
    """Serve the instruments on this port with `per_s` trades a second in all."""
    command = [sys.executable, "-m", "market", "--port", str(port), "--home", str(home), "--simulated", str(SIMULATED)]
    url = f"http://127.0.0.1:{port}"
    with (
        subprocess.Popen([*command, "--trades-per-s", f"{per_s / INSTRUMENTS:.3f}"], stdout=subprocess.DEVNULL) as process,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as http,
    ):
        market = MarketProcess(url, process.pid, http)
        try:
            eventually(lambda: len(_answered(market)) == INSTRUMENTS, 60)
            yield market
        finally:
            process.terminate()
            process.wait(20)


def _answered(market: MarketProcess) -> list[str]:
    with contextlib.suppress(httpx.HTTPError):
        return market.symbols()
    return []
