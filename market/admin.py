"""Control routes `/_market/...`: faults, limits, request log and clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from cryptoviz.settings import MarketLimits
from cryptoviz.times import iso_ms
from market.dialects import DIALECTS
from market.dialects.base import whole_number
from market.faultbook import BadFault, valid_faults

if TYPE_CHECKING:
    from market.server import ReplayMarket

__all__ = ["CLOCK_PATH", "add_admin_routes"]

CLOCK_PATH = "/_market/clock"
_PAGE = 1_000
_MAX_PAGE = 10_000


def add_admin_routes(app: web.Application, market: ReplayMarket) -> None:
    """Add the control routes of `market` to `app`."""
    admin = _Admin(market)
    app.router.add_get("/_market/faults", admin.list_faults)
    app.router.add_post("/_market/faults", admin.add_fault)
    app.router.add_delete("/_market/faults", admin.clear_faults)
    app.router.add_get("/_market/limits", admin.list_limits)
    app.router.add_post("/_market/limits", admin.set_limits)
    app.router.add_delete("/_market/limits", admin.reset_limits)
    app.router.add_get("/_market/ledger", admin.request_log)
    app.router.add_get(CLOCK_PATH, admin.clock)
    app.router.add_route("*", "/_market/{rest:.*}", _unknown)


class _LimitsRequest(MarketLimits):
    """The JSON of `POST /_market/limits`; missing fields are set to their defaults."""

    provider: str


class _Admin:
    def __init__(self, market: ReplayMarket) -> None:
        self._market = market

    async def list_faults(self, _: web.Request) -> web.Response:
        now_s = self._market.clock.monotonic_s()
        return web.json_response({"faults": self._market.faults.active(now_s), "valid": valid_faults()})

    async def add_fault(self, request: web.Request) -> web.Response:
        now_s = self._market.clock.monotonic_s()
        try:
            payload = orjson.loads(await request.read())
        except ValueError:
            return _refuse("the body is not JSON")
        try:
            fault = self._market.faults.add(payload, now_s)
        except BadFault as error:
            return _refuse(str(error))
        return web.json_response(fault.describe(now_s), status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        fault_id = whole_number(request.query.get("id"))
        if fault_id is None and "id" in request.query:
            return _refuse(f"id must be a number, received {request.query['id']!r}")
        cleared = self._market.faults.clear(request.query.get("provider"), fault_id)
        return web.json_response({"cleared": cleared})

    async def list_limits(self, _: web.Request) -> web.Response:
        default = MarketLimits()
        return web.json_response({"limits": {name: self._market.limits.get(name, default).model_dump() for name in DIALECTS}})

    async def set_limits(self, request: web.Request) -> web.Response:
        try:
            asked = _LimitsRequest.model_validate_json(await request.read())
        except ValidationError as error:
            return _refuse_limits("; ".join(f"{'.'.join(map(str, issue['loc'])) or 'body'}: {issue['msg']}" for issue in error.errors()))
        if asked.provider not in DIALECTS:
            return _refuse_limits(f"unknown provider {asked.provider!r}; valid: {', '.join(DIALECTS)}")
        self._market.limits[asked.provider] = MarketLimits(**asked.model_dump(exclude={"provider"}))
        return await self.list_limits(request)

    async def reset_limits(self, request: web.Request) -> web.Response:
        provider = request.query.get("provider")
        kept = {} if provider is None else {name: limits for name, limits in self._market.limits.items() if name != provider}
        configured = {name: limits for name, limits in self._market.config.limits.items() if provider in (None, name)}
        self._market.limits = kept | configured
        self._market.usage.forget(provider)
        return await self.list_limits(request)

    async def request_log(self, request: web.Request) -> web.Response:
        since, limit = whole_number(request.query.get("since", "0")), whole_number(request.query.get("limit", str(_PAGE)))
        if since is None or limit is None or not 1 <= limit <= _MAX_PAGE:
            return web.json_response({"error": f"since must be a sequence number from 0, limit must be between 1 and {_MAX_PAGE}"}, status=400)
        page = await asyncio.to_thread(self._market.request_log.page, since, limit)
        return web.Response(body=page, content_type="application/json")

    async def clock(self, _: web.Request) -> web.Response:
        wall_ms = self._market.clock.now_ms()
        market_ms = self._market.market.clock.market_ms(wall_ms)
        body: dict[str, Any] = {
            "wall_ms": wall_ms,
            "market_ms": market_ms,
            "wall_time": iso_ms(wall_ms),
            "market_time": iso_ms(market_ms),
            "replayed_month": datetime.fromtimestamp(market_ms / 1000, UTC).strftime("%Y-%m"),
            "speed": self._market.config.speed,
            "seed": self._market.config.seed,
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
    return web.json_response({"error": f"no {request.method} {request.path}", "valid": valid}, status=404)
