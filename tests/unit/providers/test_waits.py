"""Waits that Coinbase names, and messages that go through several hands: each names its provider once."""

from __future__ import annotations

import pytest

from cryptoviz.errors import CryptoVizError, ProviderFailure
from cryptoviz.providers.coinbase import CoinbaseProvider, parse_product
from cryptoviz.providers.failures import failure
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason
from cryptoviz.settings import ProviderSettings
from tests.support.clock import FakeClock

NOW_MS = 1_780_000_000_000


@pytest.mark.parametrize(
    ("reset", "wait_s"),
    [
        ("1", 1.0),
        ("60", 60.0),
        # Half a minute ahead, as seconds and as milliseconds since 1970; a moment that has passed names no wait.
        ("1780000030", 30.0),
        ("1780000030000", 30.0),
        ("1779999990", None),
        ("", None),
    ],
)
def test_the_reset_of_coinbase_is_a_span_or_a_moment(reset: str, wait_s: float | None) -> None:
    with pytest.raises(CryptoVizError) as caught:
        parse_product(HttpResponse(429, {"x-ratelimit-reset": reset}, b"{}", NOW_MS), {"BTC-USD": "bitcoin"})
    assert isinstance(caught.value, ProviderFailure)
    assert caught.value.reason is FallbackReason.RATE_LIMITED
    assert caught.value.retry_after_s == wait_s


def test_a_refusal_of_the_tick_before_names_its_provider_once() -> None:
    clock = FakeClock()
    provider = CoinbaseProvider(ProviderSettings(), None, clock)  # type: ignore[arg-type]
    provider._quiet = (failure("coinbase", FallbackReason.RATE_LIMITED, "HTTP 429", 30.0), clock.monotonic_s())
    refusal = provider._refusal()
    assert refusal is not None
    assert refusal.message == "coinbase: refused in the tick before: HTTP 429"
