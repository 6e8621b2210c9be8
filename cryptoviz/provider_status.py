"""How a provider stands: breaker, quota, latency. What scrapers tell, control passes on, and people are shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptoviz.components import ComponentState

__all__ = ["BreakerState", "BreakerStatus", "HoldStatus", "IdFault", "IdProblem", "IdsStatus", "ProviderStatus", "QuotaStatus", "ScraperStatus"]

_MAX_TOLD = 5
"""More ids would not be read in a line."""


class BreakerState(StrEnum):
    """Of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker. Times are UTC epoch ms.

    Attributes:
        reason: why it is in this state, for a person; empty if it was never anything but closed.
        since_ms: of the last change of state, 0 if there was none.
        probe_ms: when one poll may probe the provider; None unless it is open, or if an operator opened it.
        score: weight of the failed polls in a row.
        opens_total: how often it opened by itself since the scraper's process began.
        by_operator: an operator opened it; it stays open until reset.
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
    """Use of one limited period.

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
    """The provider asked to be left alone until then (UTC epoch ms)."""

    reason: str
    until_ms: int


class IdFault(StrEnum):
    """What is wrong with an id of ours at a provider."""

    NOT_LISTED = "not_listed"
    NOT_TRADED = "not_traded"
    LEFT_OUT = "left_out"
    """Its list has the id, its answers do not."""


@dataclass(frozen=True, slots=True)
class IdProblem:
    """An id of ours that brings no price. `detail` is the provider's own word for it, such as `BREAK`."""

    asset_id: str
    provider_id: str
    fault: IdFault
    detail: str = ""

    def text(self) -> str:
        """For a person who knows which provider is meant."""
        what = f"{self.provider_id} ({self.asset_id})"
        if self.fault is IdFault.NOT_LISTED:
            return f"{what} is not in its list"
        if self.fault is IdFault.NOT_TRADED:
            return f"{what} is not traded" + (f": {self.detail}" if self.detail else "")
        return f"{what} is in its list and not in its answers"


@dataclass(frozen=True, slots=True)
class IdsStatus:
    """Our ids, held against what the provider lists.

    Attributes:
        checked_ms: when the provider's own list was read (UTC epoch ms); None: it was not, and its answers tell.
        note: why it was not, for a person; empty if it was.
        problems: ids that bring no price, from the list and from the newest good answers.
    """

    checked_ms: int | None = None
    note: str = ""
    problems: tuple[IdProblem, ...] = ()

    def text(self, provider: str) -> str:
        """The first problems, for a person, with the setting that mends them. Empty when there are none."""
        if not self.problems:
            return ""
        shown = ", ".join(problem.text() for problem in self.problems[:_MAX_TOLD])
        more = f" and {len(self.problems) - _MAX_TOLD} more" if len(self.problems) > _MAX_TOLD else ""
        return f"{shown}{more} (CRYPTOVIZ_EXTRA_ASSETS, provider_ids.{provider})"


@dataclass(frozen=True, slots=True)
class ScraperStatus:
    """What a scraper tells of its provider.

    Attributes:
        rate: share of the ticks, 0 to 1, on which the provider is asked.
        latency_ms: of the last poll.
        last_good_ms: when a poll last brought prices (UTC epoch ms).
        last_error: of the last poll that failed, kept after recovery; empty if none did.
        last_error_ms: when that was (UTC epoch ms).
        ids: our ids, held against what the provider lists.
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
    """One row of `cryptoviz providers`. `scraper` is None while no scraper answers; then `message` says why."""

    name: str
    rank: int
    enabled: bool
    state: ComponentState
    message: str
    scraper: ScraperStatus | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """What `cryptoviz providers --json` prints. Times are ISO 8601 in UTC."""
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
    if moment_ms is None:
        return None
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
