"""Conversion between provider messages and dataclasses."""

from __future__ import annotations

from cryptoviz.components import ComponentState
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1 import providers_pb2 as providers
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
from cryptoviz.rpc.convert import member, moment_ms, stamp, unknown_value

__all__ = ["provider_from_proto", "provider_to_proto"]


def provider_to_proto(status: ProviderStatus) -> pb.Provider:
    """Convert a provider to its message."""
    return pb.Provider(
        name=status.name,
        rank=status.rank,
        enabled=status.enabled,
        state=pb.ComponentState.Value(f"COMPONENT_STATE_{status.state.name}"),
        message=status.message,
        scraper=None if status.scraper is None else _scraper_to_proto(status.scraper),
    )


def provider_from_proto(message: pb.Provider) -> ProviderStatus:
    """Convert a provider from its message."""
    return ProviderStatus(
        name=message.name,
        rank=message.rank,
        enabled=message.enabled,
        state=member(ComponentState, pb.ComponentState, message.state),
        message=message.message,
        scraper=_scraper_from_proto(message.scraper) if message.HasField("scraper") else None,
    )


def _scraper_to_proto(status: ScraperStatus) -> providers.ScraperStatus:
    breaker = status.breaker
    return providers.ScraperStatus(
        breaker=providers.Breaker(
            state=providers.BreakerState.Value(f"BREAKER_STATE_{breaker.state.name}"),
            reason=breaker.reason,
            since=stamp(breaker.since_ms or None),
            probe_at=stamp(breaker.probe_ms),
            score=breaker.score,
            opens_total=breaker.opens_total,
            by_operator=breaker.by_operator,
        ),
        quotas=[
            providers.Quota(
                period=quota.period,
                limit=quota.limit,
                used=quota.used,
                left=quota.left,
                resets_at=stamp(quota.resets_ms),
                exhausted_at=stamp(quota.exhausted_ms),
            )
            for quota in status.quotas
        ],
        hold=None if status.hold is None else providers.Hold(reason=status.hold.reason, until=stamp(status.hold.until_ms)),
        rate=status.rate,
        latency_ms=status.latency_ms,
        last_good_at=stamp(status.last_good_ms),
        last_error=status.last_error,
        last_error_at=stamp(status.last_error_ms),
        ids=providers.Ids(
            checked_at=stamp(status.ids.checked_ms),
            note=status.ids.note,
            problems=[
                providers.IdProblem(asset_id=one.asset_id, provider_id=one.provider_id, fault=one.fault, detail=one.detail)
                for one in status.ids.problems
            ],
        ),
    )


def _scraper_from_proto(message: providers.ScraperStatus) -> ScraperStatus:
    breaker, hold = message.breaker, message.hold
    return ScraperStatus(
        breaker=BreakerStatus(
            state=member(BreakerState, providers.BreakerState, breaker.state),
            reason=breaker.reason,
            since_ms=breaker.since.ToMilliseconds(),
            probe_ms=moment_ms(breaker, "probe_at"),
            score=breaker.score,
            opens_total=breaker.opens_total,
            by_operator=breaker.by_operator,
        ),
        quotas=tuple(
            QuotaStatus(one.period, one.limit, one.used, one.left, one.resets_at.ToMilliseconds(), moment_ms(one, "exhausted_at"))
            for one in message.quotas
        ),
        hold=HoldStatus(hold.reason, hold.until.ToMilliseconds()) if message.HasField("hold") else None,
        rate=message.rate,
        latency_ms=message.latency_ms if message.HasField("latency_ms") else None,
        last_good_ms=moment_ms(message, "last_good_at"),
        last_error=message.last_error,
        last_error_ms=moment_ms(message, "last_error_at"),
        ids=IdsStatus(
            moment_ms(message.ids, "checked_at"),
            message.ids.note,
            tuple(IdProblem(one.asset_id, one.provider_id, _fault(one.fault), one.detail) for one in message.ids.problems),
        ),
    )


def _fault(text: str) -> IdFault:
    try:
        return IdFault(text)
    except ValueError:
        raise unknown_value(f"the fault {text[:64]!r} of an id") from None
