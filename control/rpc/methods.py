"""Properties of each RPC: the role it needs, its limit of concurrent calls, and its deadline if the caller sets none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from cryptoviz.control.v1 import control_pb2, gaps_pb2, operations_pb2
from cryptoviz.security.tokens import Role

__all__ = [
    "CONTROL",
    "GAPS",
    "OPERATIONS",
    "ROLES",
    "SERVICES",
    "Budget",
    "answers_once",
    "budget_of",
    "deadline_s",
    "only_reads",
    "quiet",
    "role_of",
]

CONTROL = control_pb2.DESCRIPTOR.services_by_name["ControlService"].full_name
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name
GAPS = gaps_pb2.DESCRIPTOR.services_by_name["GapsService"].full_name
SERVICES = (CONTROL, OPERATIONS, GAPS, health.SERVICE_NAME, reflection.SERVICE_NAME)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit of concurrent calls of one kind.

    Attributes:
        name: name of the kind for messages, in the plural.
        total: limit for all callers. A stream costs a task and a response in flight.
        each: limit per connection, so that a program that leaks streams does not exhaust the total.
        instead: advice for the caller when the limit is reached.
    """

    name: str
    total: int
    each: int
    instead: str


_CALLS = Budget("calls", 256, 128, "retry later")
_STREAMS = {
    f"/{CONTROL}/WatchPipeline": Budget("pipeline watches", 64, 16, "close one, or poll ListComponents"),
    f"/{CONTROL}/TailLogs": Budget("log readers", 64, 16, "close one"),
    f"/{OPERATIONS}/WatchOperation": Budget("operation watches", 64, 16, "close one, or poll GetOperation"),
    f"/{GAPS}/ListGaps": Budget("gap ledger readers", 16, 8, "retry later"),
    f"/{health.SERVICE_NAME}/Watch": Budget("health watches", 64, 16, "close one, or poll Check"),
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": Budget("reflection streams", 16, 4, "close one"),
}
"""A separate budget for each long-running kind, so that open calls of a kind never block other kinds. For the same reason the sum per connection
is below `grpc.max_concurrent_streams`."""

_READ, _OPERATE = Role.READ, Role.OPERATE
ROLES: Mapping[str, Role] = {
    f"/{service}/{name}": role
    for service, methods in {
        CONTROL: {
            "ListComponents": _READ,
            "GetComponent": _READ,
            "StartComponent": _OPERATE,
            "StopComponent": _OPERATE,
            "RestartComponent": _OPERATE,
            "StartPipeline": _OPERATE,
            "StopPipeline": _OPERATE,
            "Shutdown": _OPERATE,
            "WatchPipeline": _READ,
            "TailLogs": _READ,
            "ListProviders": _READ,
            "GetProvider": _READ,
            "TripBreaker": _OPERATE,
            "ResetBreaker": _OPERATE,
            "ListCallMetrics": _READ,
        },
        OPERATIONS: {
            "StartOperation": _OPERATE,
            "GetOperation": _READ,
            "ListOperations": _READ,
            "WatchOperation": _READ,
            "CancelOperation": _OPERATE,
        },
        GAPS: {"ListGaps": _READ},
        health.SERVICE_NAME: {"Check": _READ, "List": _READ, "Watch": _READ},
        reflection.SERVICE_NAME: {"ServerReflectionInfo": _READ},
    }.items()
    for name, role in methods.items()
}
"""The role that each method needs. A method with the role `read` changes nothing."""

_DEADLINE_S = 30.0
"""Of a unary call without a deadline. Calls take milliseconds; a call without an end would occupy a slot for ever."""
_DEADLINES_S = {f"/{GAPS}/ListGaps": 120.0}  # above its own timeout for reading the lake
_STREAMED = (
    "/WatchPipeline", "/TailLogs", "/WatchOperation", f"/{health.SERVICE_NAME}/Watch", f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
)  # fmt: skip
_POLLED = ("/ListComponents", "/GetComponent", "/Check")


def budget_of(method: str) -> Budget:
    """The budget of a full method name."""
    return _STREAMS.get(method, _CALLS)


def role_of(method: str) -> Role:
    """The role that a caller of the method needs; `operate` for unknown methods."""
    return ROLES.get(method, Role.OPERATE)


def only_reads(method: str) -> bool:
    """Whether the method is read-only. False for unknown methods."""
    return role_of(method) is Role.READ


def answers_once(method: str) -> bool:
    """Whether the method of the contract has a single response."""
    return method in ROLES and not method.endswith(_STREAMED)


def deadline_s(method: str) -> float:
    """Deadline of a unary call that sets none, in seconds."""
    return _DEADLINES_S.get(method, _DEADLINE_S)


def quiet(method: str) -> bool:
    """Whether the method is polled routinely by pages and tools."""
    return method.endswith(_POLLED)
