"""Providers of prices: one module for each, with everything about it. This module exports what a provider of your own needs."""

from cryptoviz.providers.account import Account, AccountCall
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider, Parsed
from cryptoviz.providers.decode import decode_json
from cryptoviz.providers.failures import bad_payload, status_failure
from cryptoviz.providers.history import HistorySource, Point, Step, Window
from cryptoviz.providers.plan import Cost, Plan, one_call, one_call_for_each
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import IdFormat, ProviderSpec
from cryptoviz.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of

__all__ = [
    "Account",
    "AccountCall",
    "Asset",
    "BaseProvider",
    "Cost",
    "HistorySource",
    "HttpResponse",
    "IdFormat",
    "Parsed",
    "Plan",
    "Point",
    "ProviderSpec",
    "Shape",
    "Step",
    "Window",
    "bad_payload",
    "count_or_none",
    "decode_json",
    "epoch_ms",
    "number",
    "one_call",
    "one_call_for_each",
    "positive_or_none",
    "price_of",
    "status_failure",
]
