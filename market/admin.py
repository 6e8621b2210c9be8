"""Control routes `/_market/...`: faults, limits, request log and clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from cryptoviz.clock import Clock
from cryptoviz.settings import MarketLimits
from cryptoviz.times import iso_ms, utc
from market.dialects import DIALECTS
from market.dialects.base import whole_number
from market.faultbook import ActiveFault, BadFault, FaultBook, valid_faults
from market.limits import LimitBook
from market.quotes import Market
from market.request_log import RequestLog

__all__ = ["CLOCK_PATH", "Admin"]

CLOCK_PATH = "/_market/clock"
_PAGE = 1_000
_MAX_PAGE = 10_000


class _LimitsRequest(MarketLimits):
    """The JSON of `POST /_market/limits`; missing fields are set to their defaults."""

    provider: str


@dataclass(frozen=True, slots=True)
class Admin:
    """The control routes, and the parts of a market that they show and change.

    Attributes:
        limits: the current limits by provider.
        configured: the initial limits.
        on_fault: called with each new fault and its duration.
    """

    clock: Clock
    market: Market
    faults: FaultBook
    limits: dict[str, MarketLimits]
    configured: Mapping[str, MarketLimits]
    usage: LimitBook
    request_log: RequestLog
    on_fault: Callable[[ActiveFault, float | None], None]

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/_market/faults", self.list_faults)
        app.router.add_post("/_market/faults", self.add_fault)
        app.router.add_delete("/_market/faults", self.clear_faults)
        app.router.add_get("/_market/limits", self.list_limits)
        app.router.add_post("/_market/limits", self.set_limits)
        app.router.add_delete("/_market/limits", self.reset_limits)
        app.router.add_get("/_market/ledger", self.log_page)
        app.router.add_get(CLOCK_PATH, self.clock_times)
        app.router.add_route("*", "/_market/{rest:.*}", _unknown)

    async def list_faults(self, _: web.Request) -> web.Response:
        now_s = self.clock.monotonic_s()
        return web.json_response({"faults": self.faults.active(now_s), "valid": valid_faults()})

    async def add_fault(self, request: web.Request) -> web.Response:
        now_s = self.clock.monotonic_s()
        try:
            payload = orjson.loads(await request.read())
        except ValueError:
            return _refuse("the body is not JSON")
        try:
            fault = self.faults.add(payload, now_s)
        except BadFault as error:
            return _refuse(str(error))
        self.on_fault(fault, None if fault.expires_s is None else fault.expires_s - now_s)
        return web.json_response(fault.describe(now_s), status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        fault_id = whole_number(request.query.get("id"))
        if fault_id is None and "id" in request.query:
            return _refuse(f"id must be a number, received {request.query['id']!r}")
        cleared = self.faults.clear(request.query.get("provider"), fault_id)
        return web.json_response({"cleared": cleared})

    async def list_limits(self, _: web.Request) -> web.Response:
        default = MarketLimits()
        return web.json_response({"limits": {name: self.limits.get(name, default).model_dump() for name in DIALECTS}})

    async def set_limits(self, request: web.Request) -> web.Response:
        try:
            asked = _LimitsRequest.model_validate_json(await request.read())
        except ValidationError as error:
            return _refuse_limits("; ".join(f"{'.'.join(map(str, issue['loc'])) or 'body'}: {issue['msg']}" for issue in error.errors()))
        if asked.provider not in DIALECTS:
            return _refuse_limits(f"unknown provider {asked.provider!r}; valid: {', '.join(DIALECTS)}")
        self.limits[asked.provider] = MarketLimits(**asked.model_dump(exclude={"provider"}))
        return await self.list_limits(request)

    async def reset_limits(self, request: web.Request) -> web.Response:
        provider = request.query.get("provider")
        for name in DIALECTS if provider is None else (provider,):
            self.limits.pop(name, None)
            if name in self.configured:
                self.limits[name] = self.configured[name]
        self.usage.forget(provider)
        return await self.list_limits(request)

    async def log_page(self, request: web.Request) -> web.Response:
        since, limit = whole_number(request.query.get("since", "0")), whole_number(request.query.get("limit", str(_PAGE)))
        if since is None or limit is None or not 1 <= limit <= _MAX_PAGE:
            return web.json_response({"error": f"since must be a sequence number from 0, limit must be between 1 and {_MAX_PAGE}"}, status=400)
        page = await asyncio.to_thread(self.request_log.page, since, limit)
        return web.Response(body=page, content_type="application/json")

    async def clock_times(self, _: web.Request) -> web.Response:
        wall_ms = self.clock.now_ms()
        market_ms = self.market.clock.market_ms(wall_ms)
        body: dict[str, Any] = {
            "wall_ms": wall_ms,
            "market_ms": market_ms,
            "wall_time": iso_ms(wall_ms),
            "market_time": iso_ms(market_ms),
            "replayed_month": utc(market_ms).strftime("%Y-%m"),
            "speed": self.market.clock.speed,
            "seed": self.market.seed,
        }
        return web.json_response(body)


def _refuse(message: str) -> web.Response:
    return web.json_response({"error": message, "valid": valid_faults()}, status=400)


def _refuse_limits(message: str) -> web.Response:
    valid = {"provider": list(DIALECTS)} | MarketLimits.model_json_schema()["properties"]
    return web.json_response({"error": message, "valid": valid}, status=400)


async def _unknown(request: web.Request) -> web.Response:
    faults_and_limits = [f"GET|POST|DELETE /_market/{name}" for name in ("faults", "limits")]
    valid = [*faults_and_limits, "GET /_market/ledger?since=&limit=", f"GET {CLOCK_PATH}"]
    valid += ["GET /_market/trades?venue=&symbol=&from_id=&limit=", "GET /_market/streams?since=&since_refill=", "GET /_market/instruments"]
    return web.json_response({"error": f"no {request.method} {request.path}", "valid": valid}, status=404)
