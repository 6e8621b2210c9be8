"""Properties of each RPC: read-only or not, and its limit of concurrent calls."""

from __future__ import annotations

from dataclasses import dataclass

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from cryptoviz.control.v1 import control_pb2, gaps_pb2, operations_pb2

__all__ = ["CONTROL", "GAPS", "OPERATIONS", "SERVICES", "Budget", "budget_of", "only_reads", "quiet"]

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

_READS = frozenset(
    {
        *(f"/{CONTROL}/{name}" for name in ("ListComponents", "GetComponent", "WatchPipeline", "TailLogs", "ListProviders", "GetProvider")),
        *(f"/{OPERATIONS}/{name}" for name in ("GetOperation", "ListOperations", "WatchOperation")),
        f"/{GAPS}/ListGaps",
        *(f"/{health.SERVICE_NAME}/{name}" for name in ("Check", "List", "Watch")),
        f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
    }
)
_POLLED = ("/ListComponents", "/GetComponent", "/Check")


def budget_of(method: str) -> Budget:
    """The budget of a full method name."""
    return _STREAMS.get(method, _CALLS)


def only_reads(method: str) -> bool:
    """Whether the method is read-only. False for unknown methods."""
    return method in _READS


def quiet(method: str) -> bool:
    """Whether the method is polled routinely by pages and tools."""
    return method.endswith(_POLLED)
