"""The replay market's HTTP server: `/<provider>/...` imitates the provider's API, `/_market/...` controls the market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from aiohttp import web

from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, SystemClock, steady_ms
from cryptoviz.settings import MarketLimits
from market.admin import Admin
from market.browsers import refuse_other_sites
from market.dialects import DIALECTS, Answer, Dialect, Request, Usage, View
from market.dialects.base import RefillSpan
from market.faultbook import ActiveFault, FaultBook, latest
from market.faults import ClockSkew, ErrorEnvelope200, Hang, HttpStatus, Latency, Reset, ShapeVersion
from market.limits import LimitBook
from market.quotes import Market
from market.request_log import RequestLog
from market.stream_faults import RefillLate, RefillLimited, RefillShort
from market.streams.routes import StreamRoutes
from market.streams.server import PROTOCOLS, Streams
from market.trade_book import Instrument, TradeBook
from market.transport import carries_prices, hang, reset, send

__all__ = ["MarketConfig", "ReplayMarket"]

LOOPBACK = "127.0.0.1"
REPLAY_HEADER = "X-CryptoViz-Replay"
SEQ_HEADER = "X-Market-Seq"
_SHUTDOWN_S = 1.0
"""Timeout for open responses (hanging, trickling) at shutdown."""
_MAX_CONTROL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """Settings of a market.

    Attributes:
        port: 0 selects a free port.
        seed, speed: seed of simulated values, and market seconds per wall second.
        home: folder of the request log; None uses a temporary folder.
        extra_assets: simulated coins, without a recording.
        limits: initial limits per provider, changeable over HTTP; generous by default.
        ledger_max_bytes: see `RequestLog`; 0 keeps everything.
        trades_per_s: of each instrument of the streams, per market second; at least 1.
    """

    port: int = 0
    host: str = LOOPBACK
    seed: int = 20221108
    speed: float = 1.0
    home: Path | None = None
    extra_assets: tuple[Asset, ...] = ()
    limits: Mapping[str, MarketLimits] = field(default_factory=dict)
    ledger_max_bytes: int = 256 * 1024 * 1024
    trades_per_s: float = 1.7


class ReplayMarket:
    """Serves between `start` and `stop`, or as an async context manager, in the event loop that started it."""

    def __init__(self, config: MarketConfig | None = None, clock: Clock | None = None) -> None:
        self.config = config or MarketConfig()
        self.clock: Clock = clock or SystemClock()
        self.requests_total = 0
        self.last_request_ms: int | None = None
        self.limits: dict[str, MarketLimits] = dict(self.config.limits)
        """The current limits."""
        self.usage = LimitBook()
        self._runner: web.AppRunner | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._port = 0

    async def start(self) -> None:
        """Load the recording, open the request log, listen. Raises OSError when the port is in use."""
        self.market = Market(self.config.seed, self.config.speed, self.config.extra_assets)
        home = self.config.home
        if home is None:
            self._folder = TemporaryDirectory(prefix="replay-market-")
            home = Path(self._folder.name)
        self.request_log = RequestLog(home, self.config.ledger_max_bytes)
        self.request_log.open()
        self.trades = TradeBook(self.market, self.config.trades_per_s, home)
        self.faults = FaultBook(self.market.coins, self.trades.instruments)
        self.streams = Streams(self.clock, self.market, self.trades, self.faults)
        self.faults.on_end = self.streams.fault_ended
        app = web.Application(client_max_size=_MAX_CONTROL_BYTES, middlewares=[refuse_other_sites])
        StreamRoutes(self.clock, self.trades, self.streams.ledger).add_to(app)
        admin = Admin(self.clock, self.market, self.faults, self.limits, self.config.limits, self.usage, self.request_log, self.streams.fault_added)
        admin.add_routes(app)
        app.router.add_get("/{provider}", self._handle)
        app.router.add_route("*", "/{provider}/{path:.*}", self._handle)
        app.on_response_prepare.append(_mark)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self.config.host, self.config.port).start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End all faults and connections, and close the request log. Idempotent."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self.faults.clear()
        await self.streams.stop()
        await runner.cleanup()
        self.request_log.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self.config.host}:{self._port}"

    def base_url(self, provider: str) -> str:
        """Base URL for a provider class."""
        return f"{self.url}/{provider}"

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        provider = http.match_info["provider"]
        dialect = DIALECTS.get(provider)
        if dialect is None:
            return web.json_response({"error": f"unknown provider: {provider}", "valid": sorted(DIALECTS)}, status=404)
        path = f"/{http.match_info.get('path', '')}"
        self.requests_total += 1
        self.last_request_ms = steady_ms(self.clock)
        faults = self.faults.take(provider, self.clock.monotonic_s())
        await self._delay(faults)
        for fault in faults:
            if isinstance(fault.parameters, Hang | Reset):
                self.request_log.append(provider, path, self.clock.now_ms(), None, _names(faults), {})
                if isinstance(fault.parameters, Hang):
                    await hang(fault, self.clock.monotonic_s())
                return reset(http)
        if (protocol := PROTOCOLS.get(provider)) is not None and http.headers.get("Upgrade", "").lower() == "websocket":
            refused = latest(faults, HttpStatus)
            status = refused.status if refused is not None else 101 if protocol.valid_path(path) else 404
            self.request_log.append(provider, path, self.clock.now_ms(), status, _names(faults), {})
            return web.Response(status=status) if status != 101 else await self.streams.serve(http, provider, path)
        request = _request(http, path)
        answer = self._answer(dialect, request, faults, _client(http))
        prices = answer.prices if answer.status == 200 and carries_prices(faults) else {}
        if answer.refilled is not None and answer.status == 200:
            self.streams.ledger.refilled(provider, answer.refilled[0].symbol, answer.refilled[1], self.clock.now_ms())
        seq = self.request_log.append(provider, answer.endpoint, self.clock.now_ms(), answer.status, _names(faults), prices)
        return await send(http, answer, answer.headers | {SEQ_HEADER: str(seq)}, faults, self.clock, dialect.price_key)

    async def _delay(self, faults: list[ActiveFault]) -> None:
        seconds = sum(fault.parameters.seconds for fault in faults if isinstance(fault.parameters, Latency))
        if seconds:
            await self.clock.sleep(seconds)

    def _answer(self, dialect: Dialect, request: Request, faults: list[ActiveFault], client: str) -> Answer:
        now_ms = self.clock.now_ms()
        limits = self.limits.get(dialect.name, MarketLimits())
        self.usage.call(dialect.name, client, now_ms, dialect.weight(request))
        view = self._view(dialect, faults, limits, client, now_ms)
        if refused := latest(faults, HttpStatus):
            return dialect.error(request, refused.status, view, refused.error_code, refused.retry_after)
        if envelope := latest(faults, ErrorEnvelope200):
            answer = dialect.error(request, envelope.status, view, envelope.error_code)
            answer.status = 200
            return answer
        limited = latest(self.faults.peek(dialect.name, self.clock.monotonic_s()), RefillLimited) is not None
        if limited and request.path.lower().endswith("trades"):
            return dialect.limited(request, view, month=False)
        if _too_fast(view.usage, now_ms):
            if dialect.bans:
                self.usage.refuse(dialect.name, client, limits, now_ms)
                view = replace(view, usage=self.usage.usage(dialect.name, client, limits, now_ms))
            return dialect.limited(request, view, month=False)
        if view.usage.month_used >= limits.per_month:
            return dialect.limited(request, view, month=True)
        answer = dialect.answer(request, view)
        self.usage.charge(dialect.name, client, answer.credits, now_ms)
        return answer

    def _view(self, dialect: Dialect, faults: list[ActiveFault], limits: MarketLimits, client: str, now_ms: int) -> View:
        quotes = self.market.quotes(dialect.price_view, now_ms)
        for fault in faults:
            quotes = fault.apply(quotes)
        skew, shape = latest(faults, ClockSkew), latest(faults, ShapeVersion)
        shift_ms = round(skew.seconds * 1000) if skew else 0
        if shift_ms:
            quotes = [replace(quote, stamp_ms=quote.stamp_ms + shift_ms) for quote in quotes]
        return View(
            market=self.market,
            price_view=dialect.price_view,
            quotes=quotes,
            now_ms=now_ms,
            usage=self.usage.usage(dialect.name, client, limits, now_ms),
            trades=self.trades,
            refill=self._refill,
            shape=shape.shape if shape else None,
            stamp_shift_ms=shift_ms,
        )

    def _refill(self, instrument: Instrument) -> RefillSpan:
        now_us, from_us = self.trades.market_us(self.clock.now_ms()), 0
        until_us = now_us
        for fault in self.faults.peek(instrument.venue, self.clock.monotonic_s()):
            parameters = fault.parameters
            if isinstance(parameters, RefillLate | RefillShort) and (not parameters.symbols or instrument.symbol in parameters.symbols):
                bound_us = now_us - round(parameters.seconds * 1_000_000)
                if isinstance(parameters, RefillLate):
                    until_us = min(until_us, bound_us)
                else:
                    from_us = max(from_us, bound_us)
        return RefillSpan(from_us, until_us)


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    """Mark every response as replayed data."""
    response.headers[REPLAY_HEADER] = "1"


def _request(http: web.Request, path: str) -> Request:
    headers = {name.lower(): value for name, value in http.headers.items()}
    # repeated parameters form a list, as at Coinbase
    query = {name: ",".join(http.query.getall(name)) for name in http.query}
    return Request(http.method, path, query, headers)


def _client(http: web.Request) -> str:
    """The client for rate limits: the API key, else the address."""
    for name in ("x-cmc_pro_api_key", "x-cg-demo-api-key", "x-cg-pro-api-key"):
        if key := http.headers.get(name):
            return f"key:{hash(key)}"
    return f"ip:{http.remote}"


def _too_fast(usage: Usage, now_ms: int) -> bool:
    if usage.banned_until_ms > now_ms or usage.minute_used > usage.minute_limit:
        return True
    return usage.second_limit is not None and usage.second_used > usage.second_limit


def _names(faults: list[ActiveFault]) -> str | None:
    return "+".join(fault.kind for fault in faults) or None
