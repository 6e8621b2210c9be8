"""Ports that a pipeline listens on, and the setting of each."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptoviz.addresses import LOOPBACK

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["PortUse", "meet", "pipeline_ports"]


@dataclass(frozen=True, slots=True)
class PortUse:
    """A port that the pipeline listens on, its purpose, and its setting."""

    name: str
    port: int
    setting: str
    host: str = LOOPBACK


def pipeline_ports(settings: Settings) -> tuple[PortUse, ...]:
    """All ports that `up` or `demo` listens on; external engines use none."""
    uses = [
        PortUse("dashboard", settings.dashboard.port, "CRYPTOVIZ_DASHBOARD__PORT", settings.dashboard.host),
        PortUse("control service", settings.control.port, "CRYPTOVIZ_CONTROL__PORT", settings.control.host),
        *_optional("metrics", settings.control.metrics_port, "CRYPTOVIZ_CONTROL__METRICS_PORT", settings.control.host),
        PortUse("Spark UI", settings.lake.ui_port, "CRYPTOVIZ_LAKE__UI_PORT"),
    ]
    if not settings.ray.address:
        uses.append(PortUse("Ray head", settings.ray.gcs_port, "CRYPTOVIZ_RAY__GCS_PORT"))
        uses += _optional("Ray client", settings.ray.client_port, "CRYPTOVIZ_RAY__CLIENT_PORT")
        uses.append(PortUse("Ray dashboard", settings.ray.dashboard_port, "CRYPTOVIZ_RAY__DASHBOARD_PORT"))
    bind = settings.engines.bind
    if settings.kafka.embedded:
        uses.append(PortUse("Kafka", settings.kafka.port, "CRYPTOVIZ_KAFKA__PORT", bind))
        uses.append(PortUse("Kafka controller", settings.kafka.controller_port, "CRYPTOVIZ_KAFKA__CONTROLLER_PORT"))
        if settings.engines.exposed:
            uses.append(PortUse("Kafka broker", settings.kafka.broker_port, "CRYPTOVIZ_KAFKA__BROKER_PORT"))
    if settings.s3.embedded:
        uses.append(PortUse("MinIO", settings.s3.port, "CRYPTOVIZ_S3__PORT", bind))
        uses.append(PortUse("MinIO console", settings.s3.console_port, "CRYPTOVIZ_S3__CONSOLE_PORT"))
    if settings.redis.embedded:
        uses.append(PortUse("Redis", settings.redis.port, "CRYPTOVIZ_REDIS__PORT", bind))
    if settings.profile == "demo":
        uses.append(PortUse("replay market", settings.market.port, "CRYPTOVIZ_MARKET__PORT"))
    return tuple(uses)


def _optional(name: str, port: int | None, setting: str, host: str = LOOPBACK) -> list[PortUse]:
    return [] if port is None else [PortUse(name, port, setting, host)]


def meet(first: str, second: str) -> bool:
    """Whether listeners on these hosts conflict if they use the same port. Host names other than `localhost` are not resolved and always conflict."""
    found = [_address(host) for host in (first, second)]
    if None in found or any(address is not None and address.is_unspecified for address in found):
        return True
    return found[0] == found[1]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if host == "localhost":
        return ipaddress.IPv4Address(LOOPBACK)
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
