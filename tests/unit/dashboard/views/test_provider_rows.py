"""The providers page: breaker, quota and verbs."""

from __future__ import annotations

import re

from cryptoviz.components import ComponentState
from cryptoviz.provider_status import BreakerState, BreakerStatus, HoldStatus, ProviderStatus, QuotaStatus, ScraperStatus
from dashboard.views.provider_rows import provider_table

JUNE_MS = 1_780_272_000_000  # 2026-06-01


def provider(name: str = "kraken", scraper: ScraperStatus | None = None, message: str = "") -> ProviderStatus:
    return ProviderStatus(name, 1, True, ComponentState.RUNNING, message, scraper)


def test_a_quota_shows_what_is_left_and_when_it_runs_out() -> None:
    lasts = QuotaStatus("month", 10_000, 2_500, 7_500, JUNE_MS, None)
    runs_out = QuotaStatus("day", 100, 97, 3, JUNE_MS, JUNE_MS - 3_600_000)
    table = provider_table([provider(scraper=ScraperStatus(quotas=(lasts, runs_out), latency_ms=182.4, rate=0.25))], operates=True)
    assert "<b>7,500</b> of 10,000 left this month" in table
    assert "resets 2026-06-01 00:00 UTC" in table
    assert "runs out 2026-05-31 23:00 UTC" in table
    assert [word in table for word in ("width:25.0%", "width:97.0%", "cv-meter-bad", "182 ms", "25.0%")] == [True] * 5


def test_the_verb_is_the_one_with_an_effect_and_needs_the_role() -> None:
    closed = provider(scraper=ScraperStatus())
    opened = provider("binance", ScraperStatus(breaker=BreakerStatus(BreakerState.OPEN, "5 failed polls")))
    held = provider("coinbase", ScraperStatus(hold=HoldStatus("429", JUNE_MS)))
    table = provider_table([closed, opened, held], operates=True)
    assert re.findall(r'data-act="(\w+)" data-name="(\w+)"', table) == [("trip", "kraken"), ("reset", "binance"), ("reset", "coinbase")]
    assert "disabled" not in table
    assert "5 failed polls" in table
    assert table.count("preference 1<") == 3
    assert "on hold until 2026-06-01 00:00 UTC: 429" in table
    assert provider_table([closed], operates=False).count("disabled") == 1


def test_nothing_of_a_providers_error_is_markup() -> None:
    hostile = "<script>alert(1)</script>"
    table = provider_table([provider(scraper=ScraperStatus(last_error=hostile, last_error_ms=1)), provider(hostile, None, hostile)], operates=True)
    assert "<script" not in table
