"""Metrics of the control service's calls, and their conversion from the message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptoviz.control.v1 import control_pb2 as pb

__all__ = ["MethodCalls", "calls_from_proto"]


@dataclass(frozen=True, slots=True)
class MethodCalls:
    """Calls of one method since the start of the service.

    Attributes:
        method: full name with slashes; `unknown` stands for all methods that do not exist.
        calls: number of ended calls by the name of their code.
        latency: upper bound (inclusive, s) and number of calls of each bucket; the last bound is infinite. All zero for streams.
        latency_sum_s: sum of the latencies.
    """

    method: str
    calls: Mapping[str, int]
    latency: tuple[tuple[float, int], ...]
    latency_sum_s: float


def calls_from_proto(message: pb.ListCallMetricsResponse) -> list[MethodCalls]:
    """Convert the metrics of all methods."""
    bounds = (*message.bounds_s, float("inf"))
    return [MethodCalls(one.method, dict(one.calls), tuple(zip(bounds, one.latency, strict=True)), one.latency_sum_s) for one in message.methods]
