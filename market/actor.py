"""The Ray actor of the replay market; the server runs in the actor's event loop."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptoviz.clock import steady_ms
from cryptoviz.components import MARKET, Probe
from cryptoviz.errors import PreflightError
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file

if TYPE_CHECKING:
    from market.server import ReplayMarket

__all__ = ["MarketActor"]


class MarketActor:
    """Serves the replay market on 127.0.0.1:`settings.market.port`. The request log is in `settings.home/market`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._market: ReplayMarket | None = None
        self._log = get_logger(MARKET)

    async def start(self) -> None:
        """Start to listen.

        Raises:
            PreflightError: the port is in use, or the limits name an unknown provider.
        """
        if self._market is not None:
            return
        # Imported here, because the controller imports this module and needs neither the web server nor numpy.
        from market.dialects import DIALECTS
        from market.server import MarketConfig, ReplayMarket

        log_to_file(self._settings, MARKET)
        asked = self._settings.market
        if unknown := sorted(set(asked.limits) - set(DIALECTS)):
            problem = f"market.limits names unknown providers {', '.join(unknown)}; valid: {', '.join(DIALECTS)}"
            raise PreflightError(problem, problems=[problem])
        home = self._settings.home / "market"
        extra = self._settings.extra_assets
        config = MarketConfig(asked.port, seed=asked.seed, speed=asked.speed, home=home, extra_assets=extra, limits=asked.limits)
        market = ReplayMarket(replace(config, trades_per_s=asked.trades_per_s))
        try:
            await market.start()
        except OSError as error:
            problem = f"the replay market cannot listen on port {asked.port} ({error.strerror or error}); set CRYPTOVIZ_MARKET__PORT to a free port"
            raise PreflightError(problem, problems=[problem]) from error
        self._market = market
        self._log.info("market_started", url=market.url, last_seq=market.request_log.last_seq)

    async def stop(self) -> None:
        if self._market is not None:
            market, self._market = self._market, None
            await market.stop()
            self._log.info("market_stopped", last_seq=market.request_log.last_seq)

    async def probe(self) -> Probe:
        """Report counts of requests and faults, and the age of the last request (absent before the first)."""
        market = self._market
        if market is None:
            return Probe(running=False, healthy=False, message="not started")
        from market.admin import CLOCK_PATH  # as above

        faults = market.faults.active(market.clock.monotonic_s())
        metrics = {"requests_total": float(market.requests_total), "faults_active": float(len(faults))}
        if market.last_request_ms is not None:
            metrics["last_request_age_s"] = max(0.0, (steady_ms(market.clock) - market.last_request_ms) / 1000)
        kinds = ", ".join(sorted({f"{fault['kind']} on {fault['provider']}" for fault in faults}))
        message = f"faults: {kinds}" if kinds else "replays November 2022"
        return Probe(running=True, healthy=True, message=message, metrics=metrics, pid=os.getpid(), url=f"{market.url}{CLOCK_PATH}")
