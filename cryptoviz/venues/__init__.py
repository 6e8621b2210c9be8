"""Venues: exchanges with a live stream of trades, one module for each, with everything about it. Exports what a venue of your own needs."""

from cryptoviz.providers.failures import bad_payload, status_failure
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Side, TradeNumber
from cryptoviz.venues.base import KlineCall, RefillCall, RefillPage, StreamSession, StreamVenue
from cryptoviz.venues.events import (
    Acked,
    Announced,
    Announcement,
    Event,
    Heartbeat,
    Quote,
    Refused,
    Trades,
    Unknown,
    VenueKline,
    Voided,
)
from cryptoviz.venues.refill_rows import RefillRows
from cryptoviz.venues.spec import Channel, Instrument, QuietRule, RefillLimits, StreamLimits, VenueSpec
from cryptoviz.venues.values import is_zero, number_text, plain, us_of_count, us_of_text

__all__ = [
    "Acked", "Announced", "Announcement", "Channel", "Event", "Heartbeat", "HttpResponse", "IdRun", "Instrument", "KlineCall", "PermanentReason",
    "Plan", "QuietRule", "Quote", "RefillCall", "RefillLimits", "RefillPage", "RefillRows", "Refused", "Side", "StreamLimits", "StreamSession",
    "StreamVenue", "TradeNumber", "Trades", "Unknown", "VenueKline", "VenueSpec", "Voided", "bad_payload", "is_zero", "number_text", "plain",
    "status_failure", "us_of_count", "us_of_text",
]  # fmt: skip
