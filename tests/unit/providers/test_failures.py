from __future__ import annotations

import pytest

from cryptoviz.errors import CryptoVizError, ProviderRefused, ProviderUnavailable
from cryptoviz.providers.failures import failure, named, retry_after_s, status_failure, unnamed
from cryptoviz.records import FallbackReason

# 2015-10-21T07:28:00Z
NOW_MS = 1_445_412_480_000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:29:30 GMT", 90.0),
        ("Wed, 21 Oct 2015 07:29:30 -0000", 90.0),
        # The end has passed by our clock, so that the clocks differ: the usual wait applies.
        ("Wed, 21 Oct 2015 07:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None),
        # 9999-12-31T23:59:59Z less 2015-10-21T07:28:00Z, in seconds.
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799.0 - 1_445_412_480.0),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 99999999999999999999:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999", None),
        ("Wed, 21 Oct 2015", None),
        ("9" * 5000, 999_999_999.0),
        # A moment since 1970 instead of a span: 2015-10-21T07:28:30Z, thirty seconds ahead, as seconds and as milliseconds.
        ("1445412510", 30.0),
        ("1445412510000", 30.0),
        ("0001445412510", 30.0),
        # Passed by our clock.
        ("1445412480", None),
        ("1445412479999", None),
        ("9999999999", 999_999_999.0),
        ("99999999999", 999_999_999.0),
        # A year, which is a span.
        ("31536000", 31_536_000.0),
        ("0000000000120", 120.0),
        ("1e400", None),
        ("inf", None),
        ("NaN", None),
        ("-1e400", None),
        ("120, 60", None),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after_s({"retry-after": value}, NOW_MS) == seconds
    assert retry_after_s({}, NOW_MS) is None


@pytest.mark.parametrize(
    ("status", "cls", "reason"),
    [
        (400, ProviderUnavailable, FallbackReason.UNAVAILABLE),
        (401, ProviderRefused, FallbackReason.AUTH),
        (402, ProviderUnavailable, FallbackReason.QUOTA),
        (403, ProviderRefused, FallbackReason.AUTH),
        (404, ProviderUnavailable, FallbackReason.UNAVAILABLE),
        (408, ProviderUnavailable, FallbackReason.TIMEOUT),
        (418, ProviderUnavailable, FallbackReason.RATE_LIMITED),
        (429, ProviderUnavailable, FallbackReason.RATE_LIMITED),
        (451, ProviderRefused, FallbackReason.AUTH),
        (500, ProviderUnavailable, FallbackReason.UNAVAILABLE),
        (503, ProviderUnavailable, FallbackReason.UNAVAILABLE),
    ],
)
def test_a_status_is_a_typed_error(status: int, cls: type[CryptoVizError], reason: FallbackReason):
    error = status_failure("p", status, "text", 3.0)
    assert (type(error), error.reason, error.retry_after_s, error.provider) == (cls, reason, 3.0, "p")
    assert str(status) in error.message


def test_a_message_names_its_provider_once():
    refused = failure("coingecko", FallbackReason.RATE_LIMITED, "HTTP 429")
    assert failure("coingecko", FallbackReason.RATE_LIMITED, refused.message).message == "coingecko: HTTP 429"
    assert named("coingecko", refused.message) == "coingecko: HTTP 429"
    assert named("coingecko", "coingecko asked to wait") == "coingecko asked to wait"
    assert named("coingecko", "no price") == "coingecko: no price"
    assert unnamed("coingecko", refused.message) == "HTTP 429"
