"""Control routes of the streams: `/_market/trades` (what was made) and `/_market/streams` (what was sent)."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from aiohttp import web

from cryptoviz.clock import Clock
from market.dialects.base import whole_number
from market.streams.ledger import StreamLedger
from market.trade_book import TradeBook

__all__ = ["StreamRoutes"]

_PAGE = 1_000
_MAX_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class StreamRoutes:
    """The routes, and what they show."""

    clock: Clock
    book: TradeBook
    ledger: StreamLedger

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/_market/trades", self.made)
        app.router.add_get("/_market/streams", self.sent)
        app.router.add_get("/_market/instruments", self.listed)

    async def made(self, request: web.Request) -> web.Response:
        """The trades of one instrument, by id or time: `[id, price, size, taker side, UTC epoch us]`."""
        query = request.query
        instrument = self.book.instruments.get(query.get("venue", ""), {}).get(query.get("symbol", ""))
        if instrument is None:
            valid = {venue: list(symbols) for venue, symbols in self.book.instruments.items()}
            return web.json_response({"error": "venue and symbol must name an instrument", "valid": valid}, status=400)
        names = ("from_id", "since_us", "until_us", "limit")
        numbers = {name: whole_number(query[name]) for name in names if name in query}
        limit = numbers.get("limit", _PAGE)
        if None in numbers.values() or limit is None or not 1 <= limit <= _MAX_PAGE:
            error = f"from_id, since_us and until_us must be numbers from 0, limit must be between 1 and {_MAX_PAGE}"
            return web.json_response({"error": error}, status=400)
        tape, clock, now_us = instrument.tape, self.book.clock, self.book.market_us(self.clock.now_ms())
        until_us = min(now_us, clock.elapsed_us(numbers.get("until_us") or 10**17))
        from_id = numbers.get("from_id") or 1
        if since_us := numbers.get("since_us"):
            from_id = max(from_id, tape.count(clock.elapsed_us(since_us) - 1) + 1)
        trades = tape.trades(from_id, until_us, limit)
        steps = instrument.steps
        rows = [
            [trade.trade_id, steps.price_text(trade.price), steps.size_text(trade.size), "buy" if trade.buy else "sell", clock.wall_us(trade.time_us)]
            for trade in trades
        ]
        return _json(
            {
                "venue": instrument.venue,
                "symbol": instrument.symbol,
                "asset_id": instrument.coin.asset.asset_id,
                "last_id": tape.count(until_us),
                "next_from_id": trades[-1].trade_id + 1 if trades else from_id,
                "trades": rows,
            }
        )

    async def sent(self, request: web.Request) -> web.Response:
        """Connections and refills with the runs of ids that they brought."""
        names = {"since": "0", "since_refill": "0", "limit": str(_PAGE)}
        since, since_refill, limit = (whole_number(request.query.get(name, usual)) for name, usual in names.items())
        if since is None or since_refill is None or limit is None or not 1 <= limit <= _MAX_PAGE:
            error = f"since and since_refill must be numbers from 0, limit must be between 1 and {_MAX_PAGE}"
            return web.json_response({"error": error}, status=400)
        return _json(self.ledger.page(since, since_refill, limit))

    async def listed(self, _: web.Request) -> web.Response:
        """The instruments with a stream: by venue, the stream's symbol and the asset."""
        return _json(
            {venue: {symbol: each.coin.asset.asset_id for symbol, each in listed.items()} for venue, listed in self.book.instruments.items()}
        )


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
