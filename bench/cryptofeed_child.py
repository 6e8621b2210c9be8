"""Frames through cryptofeed's own message handlers, for `bench.beside_cryptofeed`. Runs in an environment with cryptofeed and without this project.

Reads requests and writes answers as JSON, a line each. A request has `venue`, `path` (a file with a frame a line), `symbols` (its name to the venue's
name), and one of: `dump` (a file to write the trades to), `kafka` (arguments of the backend; without it the callback does nothing).
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

_CLASSES = {"binance": "Binance", "kraken": "Kraken", "coinbase": "Coinbase"}


class _Warnings(logging.Handler):
    """Keeps the first message: cryptofeed logs what it does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()[:150]


class _Run:
    def __init__(self, request: dict[str, Any]) -> None:
        self._frames = Path(request["path"]).read_text().splitlines()
        self._venue, self._symbols, self._kafka = request["venue"], request["symbols"], request.get("kafka")
        self.trades: list[Any] = []
        self.count = 0
        self.cpu_s = self.wall_s = 0.0
        self.error = ""

    async def run(self, *, keep: bool) -> None:
        defines = importlib.import_module("cryptofeed.defines")
        kind = getattr(importlib.import_module("cryptofeed.exchanges"), _CLASSES[self._venue])
        info = {"instrument_type": dict.fromkeys(self._symbols, "spot"), "tick_size": {}}
        importlib.import_module("cryptofeed.symbols").Symbols.set(kind.id, dict(self._symbols), info)

        async def count(trade: Any, _: float) -> None:
            self.count += 1
            if keep:
                self.trades.append(trade)

        if self._kafka is None:
            await self._handle(kind, defines.TRADES, count)
            return
        backend = importlib.import_module("cryptofeed.backends.kafka").TradeKafka(**self._kafka)
        if hasattr(backend, "start_writer"):  # 3: drops the oldest beyond its depth
            backend.max_depth = len(self._frames) + 2
            async with asyncio.TaskGroup() as tasks:
                backend.start_writer(tasks, "kafka")
                await self._handle(kind, defines.TRADES, backend)
                while backend.stats.delivered < len(self._frames) and not backend.stats.dropped_failed:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
                self.count = backend.stats.delivered
                self._stop()
                await backend.stop()
        else:
            backend.start(asyncio.get_running_loop())
            await self._handle(kind, defines.TRADES, backend)
            await backend.queue.join()
            self.count = len(self._frames)
            self._stop()
            await backend.stop()
            await backend.worker

    async def _handle(self, kind: Any, channel: str, callback: Any) -> None:
        feed = kind(symbols=list(self._symbols), channels=[channel], callbacks={channel: callback}, config={"log": {"disabled": True}})
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()
        try:
            for frame in self._frames:
                await feed.message_handler(frame, None, 0.0)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises for a frame that it does not know
            self.error = f"{type(error).__name__}: {error}"[:150]
        if self._kafka is None:
            self._stop()

    def _stop(self) -> None:
        self.cpu_s, self.wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s


def main() -> None:
    warnings = _Warnings()
    logging.getLogger().addHandler(warnings)
    logging.getLogger().setLevel(logging.WARNING)
    version = importlib.metadata.version
    print(json.dumps({"cryptofeed": version("cryptofeed"), "aiokafka": version("aiokafka"), "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        request, warnings.first = json.loads(line), ""
        run = _Run(request)
        asyncio.run(run.run(keep="dump" in request))
        if "dump" in request:
            rows = [(one.symbol, str(one.id), str(one.price), str(one.amount), one.side, repr(one.timestamp)) for one in run.trades]
            Path(request["dump"]).write_text("\n".join(map(json.dumps, rows)))
        answer = {"cpu_s": run.cpu_s, "wall_s": run.wall_s, "trades": run.count, "error": run.error, "warning": warnings.first}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
