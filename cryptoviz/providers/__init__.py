"""Providers of prices: one module for each, with everything about it. This module exports what a provider of your own needs."""

from cryptoviz.providers.account import Account, AccountCall, account_object, count, member
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider, Parsed
from cryptoviz.providers.decode import decode_json
from cryptoviz.providers.failures import bad_payload, failure, status_failure
from cryptoviz.providers.history import HistorySource, Point, Step, Window, candles
from cryptoviz.providers.listing_status import AskList
from cryptoviz.providers.pairs import Entry, Pair
from cryptoviz.providers.plan import Cost, Plan, one_call, one_call_for_each
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import IdFormat, ProviderSpec
from cryptoviz.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of

__all__ = [
    "Account",
    "AccountCall",
    "AskList",
    "Asset",
    "BaseProvider",
    "Cost",
    "Entry",
    "HistorySource",
    "HttpResponse",
    "IdFormat",
    "Pair",
    "Parsed",
    "Plan",
    "Point",
    "ProviderSpec",
    "Shape",
    "Step",
    "Window",
    "account_object",
    "bad_payload",
    "candles",
    "count",
    "count_or_none",
    "decode_json",
    "epoch_ms",
    "failure",
    "member",
    "number",
    "one_call",
    "one_call_for_each",
    "positive_or_none",
    "price_of",
    "status_failure",
]
