"""Polls of real provider classes against bodies of the corpus, as the collector records them, and what each gave for bitcoin."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from cryptoviz.records import TickResult
from tests.support.corpus import cases, listing_of
from tests.unit.actors.recorded_run import Run, Site

MINUTE_MS = 60_000


def good(provider: str) -> Any:
    return next(case for case in cases(provider) if case.expect.get("prices") and "bitcoin" in case.expect["prices"])


def serve(site: Site, provider: str) -> None:
    """The listing by its path, else a good body; of a coin by its path where the provider asks for each."""
    case = good(provider)

    def answer(request: web.Request) -> web.Response:
        if "AssetPairs" in request.path or "exchangeInfo" in request.path:
            return web.json_response(listing_of(provider, case.pairs))
        if provider == "coinbase":
            name = request.path.rsplit("/", 1)[-1]
            return web.json_response(orjson.loads(case.response.body) | {"product_id": name})
        return web.Response(body=case.response.body, headers={"Content-Type": "application/json"})

    site.answers[provider] = answer


async def recorded_polls(site: Site, *providers: str, ticks: int = 3) -> tuple[Run, dict[str, list[tuple[int, str, float]]]]:
    """A run, and what each provider's poll gave for bitcoin: tick, currency, price."""
    run = Run(site, *providers)
    said: dict[str, list[tuple[int, str, float]]] = {}
    submit = run.core.submit

    def noted(result: TickResult) -> None:
        if (one := result.observations.get("bitcoin")) is not None:
            said.setdefault(result.provider, []).append((result.tick_ts, one.quote_currency, one.price))
        submit(result)

    run.core.submit = noted  # type: ignore[method-assign]
    for provider in providers:
        serve(site, provider)
    for _ in range(ticks):
        await run.tick()
    return run, said


def last_of_minutes(said: list[tuple[int, str, float]]) -> list[tuple[int, float]]:
    found = {tick // MINUTE_MS * MINUTE_MS: price for tick, _, price in said}
    return sorted(found.items())
