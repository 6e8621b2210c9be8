"""Status of a provider: breaker, quota, hold, latency, ids. Reported by scrapers and passed on by the control service."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from cryptoviz.components import ComponentState
from cryptoviz.times import iso_ms

__all__ = ["BreakerState", "BreakerStatus", "HoldStatus", "IdFault", "IdProblem", "IdsStatus", "ProviderStatus", "QuotaStatus", "ScraperStatus"]

_MAX_SHOWN = 5
"""Maximum number of ids in one line of text."""


class BreakerState(StrEnum):
    """State of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """Status of a circuit breaker. Times are UTC epoch ms.

    Attributes:
        reason: cause of the state; empty before the first change.
        since_ms: last change of state; 0 before the first.
        probe_ms: when a probe is allowed; None unless open, or if opened by an operator.
        score: total weight of consecutive failed polls.
        opens_total: number of automatic openings since the start of the scraper's process.
        by_operator: opened by an operator; stays open until reset.
    """

    state: BreakerState = BreakerState.CLOSED
    reason: str = ""
    since_ms: int = 0
    probe_ms: int | None = None
    score: int = 0
    opens_total: int = 0
    by_operator: bool = False


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """Usage of a limited period.

    Attributes:
        period: `day` or `month`.
        limit, used, left: calls or credits.
        resets_ms: end of the period (UTC epoch ms).
        exhausted_ms: when the limit is reached at the present rate (UTC epoch ms); None if it lasts until the period ends.
    """

    period: str
    limit: int
    used: int
    left: int
    resets_ms: int
    exhausted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """A hold imposed by the provider, until `until_ms` (UTC epoch ms)."""

    reason: str
    until_ms: int


class IdFault(StrEnum):
    """Why a configured id has no price."""

    NOT_LISTED = "not_listed"
    NOT_TRADED = "not_traded"
    LEFT_OUT = "left_out"
    """In the provider's listing, but missing in its responses."""


@dataclass(frozen=True, slots=True)
class IdProblem:
    """A configured id without a price. `detail` is the provider's status text, such as `BREAK`."""

    asset_id: str
    provider_id: str
    fault: IdFault
    detail: str = ""

    def text(self) -> str:
        """Description without the provider's name."""
        what = f"{self.provider_id} ({self.asset_id})"
        if self.fault is IdFault.NOT_LISTED:
            return f"{what} is not in its list"
        if self.fault is IdFault.NOT_TRADED:
            return f"{what} is not traded" + (f": {self.detail}" if self.detail else "")
        return f"{what} is in its list, but not in its responses"


@dataclass(frozen=True, slots=True)
class IdsStatus:
    """Result of the listing check of the configured ids.

    Attributes:
        checked_ms: when the provider's listing was read (UTC epoch ms); None if not read: problems are then only found from responses.
        note: why the listing was not read; empty if it was.
        problems: ids without a price, by the listing and the newest good responses.
    """

    checked_ms: int | None = None
    note: str = ""
    problems: tuple[IdProblem, ...] = ()

    def text(self, provider: str) -> str:
        """The first problems as text, with the setting that corrects them. Empty if there are none."""
        if not self.problems:
            return ""
        shown = ", ".join(problem.text() for problem in self.problems[:_MAX_SHOWN])
        more = f" and {len(self.problems) - _MAX_SHOWN} more" if len(self.problems) > _MAX_SHOWN else ""
        return f"{shown}{more} (CRYPTOVIZ_EXTRA_ASSETS, provider_ids.{provider})"


@dataclass(frozen=True, slots=True)
class ScraperStatus:
    """Status of a provider, reported by its scraper.

    Attributes:
        rate: share of ticks, 0 to 1, that are turns of the provider.
        latency_ms: duration of the last poll.
        last_good_ms: last poll that returned prices (UTC epoch ms).
        last_error: error of the last failed poll, kept after recovery; empty if none failed.
        last_error_ms: time of that poll (UTC epoch ms).
        ids: result of the listing check.
    """

    breaker: BreakerStatus = field(default_factory=BreakerStatus)
    quotas: tuple[QuotaStatus, ...] = ()
    hold: HoldStatus | None = None
    rate: float = 1.0
    latency_ms: float | None = None
    last_good_ms: int | None = None
    last_error: str = ""
    last_error_ms: int | None = None
    ids: IdsStatus = field(default_factory=IdsStatus)


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """A row of `cryptoviz providers`. `scraper` is None if no scraper answers; `message` then gives the reason."""

    name: str
    rank: int
    enabled: bool
    state: ComponentState
    message: str
    scraper: ScraperStatus | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """For `--json`: times as ISO 8601 in UTC."""
        scraper = self.scraper
        row: dict[str, Any] = {
            "name": self.name, "rank": self.rank, "enabled": self.enabled, "state": str(self.state), "message": self.message,
        }  # fmt: skip
        if scraper is None:
            return row | {
                "breaker": None, "quotas": [], "hold": None, "rate": None, "latency_ms": None, "last_good": None, "last_error": "",
                "last_error_at": None, "ids": None,
            }  # fmt: skip
        breaker, hold = scraper.breaker, scraper.hold
        return row | {
            "breaker": {
                "state": str(breaker.state), "reason": breaker.reason, "since": _iso(breaker.since_ms or None), "probe_at": _iso(breaker.probe_ms),
                "score": breaker.score, "opens_total": breaker.opens_total, "by_operator": breaker.by_operator,
            },
            "quotas": [
                {
                    "period": quota.period, "limit": quota.limit, "used": quota.used, "left": quota.left, "resets_at": _iso(quota.resets_ms),
                    "exhausted_at": _iso(quota.exhausted_ms),
                }
                for quota in scraper.quotas
            ],
            "hold": None if hold is None else {"reason": hold.reason, "until": _iso(hold.until_ms)},
            "rate": scraper.rate,
            "latency_ms": scraper.latency_ms,
            "last_good": _iso(scraper.last_good_ms),
            "last_error": scraper.last_error,
            "last_error_at": _iso(scraper.last_error_ms),
            "ids": {
                "checked_at": _iso(scraper.ids.checked_ms),
                "note": scraper.ids.note,
                "problems": [asdict(problem) for problem in scraper.ids.problems],
            },
        }  # fmt: skip


def _iso(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else iso_ms(moment_ms)
