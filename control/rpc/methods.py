"""What kind of method each RPC is: whether it only reads, and from which budget of concurrent calls it takes."""

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
    """Calls of one kind that are served at a time.

    Attributes:
        name: of the kind, in the plural, for a person.
        total: of all callers. A stream costs a task and an answer on its way.
        each: of one connection, so that one program that forgets to close its streams does not take those of the others.
        instead: what to do when there is no room, for a person.
    """

    name: str
    total: int
    each: int
    instead: str


_CALLS = Budget("calls", 256, 128, "call again in a moment")
_STREAMS = {
    f"/{CONTROL}/WatchPipeline": Budget("watches of the pipeline", 64, 16, "close one, or poll ListComponents"),
    f"/{CONTROL}/TailLogs": Budget("readers of logs", 64, 16, "close one"),
    f"/{OPERATIONS}/WatchOperation": Budget("watches of operations", 64, 16, "close one, or poll GetOperation"),
    f"/{GAPS}/ListGaps": Budget("readers of the gap ledger", 16, 8, "call again in a moment"),
    f"/{health.SERVICE_NAME}/Watch": Budget("watches of health", 64, 16, "close one, or poll Check"),
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": Budget("streams of reflection", 16, 4, "close one"),
}
"""One budget for each kind that may last: however many of a kind are open, calls of every other kind are served. The sum for one connection stays
below its limit of streams, `grpc.max_concurrent_streams`, for the same reason."""

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
    """Whether the method changes nothing. One that is not known here counts as one that does."""
    return method in _READS


def quiet(method: str) -> bool:
    """Whether pages and tools poll it."""
    return method.endswith(_POLLED)
