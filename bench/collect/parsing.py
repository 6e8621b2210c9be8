"""From bodies to a tick result, as a scraper makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryptoviz.providers.coingecko import parse_markets
from cryptoviz.providers.coinmarketcap import parse_quotes
from cryptoviz.providers.parse_result import Parsed
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import Observation, TickResult

__all__ = ["PARSERS", "Parser", "parse", "parsed_at"]

Parser = Callable[[HttpResponse, Mapping[str, str]], Parsed]


PARSERS: dict[str, Parser] = {"coingecko": parse_markets, "coinmarketcap": parse_quotes}


def parse(provider: str, parser: Parser, found: list[bytes], ids: Mapping[str, str], tick_ts: int, now_ms: int) -> TickResult:
    """What a scraper makes of a tick's bodies. Each page knows its own ids, as a provider class passes them."""
    size, names = -(-len(ids) // len(found)), list(ids.items())
    observations: dict[str, Observation] = {}
    for page, body in enumerate(found):
        parsed = parser(HttpResponse(200, {}, body, now_ms), dict(names[page * size : (page + 1) * size]))
        observations |= {observation.asset_id: observation for observation in parsed.observations}
    return TickResult(provider, tick_ts, "f" * 32, 1, now_ms, observations)


def parsed_at(name: str, found: list[bytes], ids: Mapping[str, str], tick_ts: int) -> TickResult:
    """What a scraper makes of its bodies at a tick."""
    return parse(name, PARSERS[name], found, ids, tick_ts, tick_ts)
