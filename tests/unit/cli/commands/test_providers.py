from __future__ import annotations

import io

from rich.console import Console

from cryptoviz.cli.commands.providers import providers_view
from cryptoviz.components import ComponentState
from cryptoviz.provider_status import (
    BreakerState,
    BreakerStatus,
    HoldStatus,
    IdFault,
    IdProblem,
    IdsStatus,
    ProviderStatus,
    QuotaStatus,
    ScraperStatus,
)

NOW_S = 1_700_000_000.0
NOW_MS = 1_700_000_000_000


def shown(*rows: ProviderStatus) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(providers_view(list(rows), NOW_S))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(scraper: ScraperStatus | None, message: str = "") -> ProviderStatus:
    return ProviderStatus("coingecko", 1, True, ComponentState.RUNNING, message, scraper)


def test_a_healthy_provider_without_a_plan():
    text = shown(row(ScraperStatus(latency_ms=123.4)))
    for part in ("coingecko", "RUNNING", "closed", "all", "no limit", "123 ms"):
        assert part in text


def test_quota_and_its_date_of_exhaustion():
    quotas = (
        QuotaStatus("day", 333, 100, 233, NOW_MS + 6_400_000),
        QuotaStatus("month", 10_000, 9_000, 1_000, NOW_MS + 10**9, NOW_MS + 86_400_000),
    )
    text = shown(row(ScraperStatus(quotas=quotas, rate=0.22)))
    for part in (
        "22.0%",
        "100 of 333 a day",
        "9,000 of 10,000 a month",
        "233 left, resets 2023-11-15",
        "1,000 left, runs out 2023-11-15",
    ):
        assert part in text


def test_an_open_breaker_a_wait_and_the_last_error():
    breaker = BreakerStatus(BreakerState.OPEN, "failing", NOW_MS, NOW_MS + 30_000, 6, 1)
    text = shown(
        row(
            ScraperStatus(breaker=breaker, hold=HoldStatus("rate_limited", NOW_MS + 60_000), last_error="[red]no[/red]", last_error_ms=NOW_MS - 5_000)
        )
    )
    for part in ("breaker open: failing; probe in 30 s", "on hold for 60 s: rate_limited", "last error 5 s ago: [red]no[/red]"):
        assert part in text


def test_the_operator_s_reason_and_a_scraper_that_does_not_answer():
    tripped = BreakerStatus(BreakerState.OPEN, "maintenance", NOW_MS, by_operator=True)
    assert "breaker opened by operator: maintenance" in shown(row(ScraperStatus(breaker=tripped)))
    assert "coingecko: its process ended" in shown(row(None, "its process ended"))


def test_ids_that_bring_no_price_and_a_list_that_could_not_be_had():
    problems = (
        IdProblem("lost", "no-such", IdFault.NOT_LISTED),
        IdProblem("polygon", "MATICUSDT", IdFault.NOT_TRADED, "BREAK"),
        IdProblem("solana", "solana", IdFault.LEFT_OUT),
    )
    text = " ".join(shown(row(ScraperStatus(ids=IdsStatus(NOW_MS, "", problems)))).split())
    assert (
        "coingecko: no-such (lost) is not in its list, MATICUSDT (polygon) is not traded: BREAK, "
        "solana (solana) is in its list, but not in its responses (CRYPTOVIZ_EXTRA_ASSETS, provider_ids.coingecko)"
    ) in text
    many = IdsStatus(problems=tuple(IdProblem(f"a{n}", f"x{n}", IdFault.NOT_LISTED) for n in range(7)))
    text = many.text("kraken")
    assert "x4 (a4) is not in its list and 2 more" in text
    assert "x5" not in text
    noted = shown(row(ScraperStatus(ids=IdsStatus(note="coingecko: HTTP 503"))))
    assert "ids not checked against the provider's list: coingecko: HTTP 503" in noted
    assert "ids" not in shown(row(ScraperStatus(ids=IdsStatus(NOW_MS))))
