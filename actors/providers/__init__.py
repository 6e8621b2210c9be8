"""Providers of prices. What a provider of your own needs is here; the built-in ones are in the modules beside it."""

from actors.providers.base import BaseProvider, Parsed
from actors.providers.decode import decode_json
from actors.providers.failures import bad_payload, status_failure
from actors.providers.http import HttpResponse
from actors.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of

__all__ = [
    "BaseProvider",
    "HttpResponse",
    "Parsed",
    "bad_payload",
    "count_or_none",
    "decode_json",
    "epoch_ms",
    "number",
    "positive_or_none",
    "price_of",
    "status_failure",
]
