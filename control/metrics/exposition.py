"""The pipeline's status in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from control.metrics.names import PREFIX, exported
from control.rpc.call_metrics import BOUNDS_S, CallMetrics
from cryptoviz.clock import Clock
from cryptoviz.components import ComponentState, ComponentStatus, DesiredState
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = ["registry_of"]


def registry_of(status: Callable[[], PipelineStatus], calls: CallMetrics, clock: Clock) -> CollectorRegistry:
    """A registry that reads the status and the counts of calls at each scrape, and the controller's own process. `clock`: of the status."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Live(status, calls, clock))
    return registry


class _Live(Collector):
    def __init__(self, status: Callable[[], PipelineStatus], calls: CallMetrics, clock: Clock) -> None:
        self._status = status
        self._calls = calls
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: names depend on the components; registering must not read the status."""
        return ()

    def collect(self) -> Iterator[Metric]:
        pipeline = self._status()
        yield from _states(pipeline, self._clock.now_ms())
        yield from _of_probes(pipeline.components)
        yield from _of_calls(self._calls)


def _states(pipeline: PipelineStatus, now_ms: int) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{PREFIX}pipeline_running", "1 if every enabled component is RUNNING.")
    up.add_metric([], float(pipeline.state is ComponentState.RUNNING))
    state = GaugeMetricFamily(f"{PREFIX}component_state", "1 for the present state, 0 for the others.", labels=["component", "state"])
    desired = GaugeMetricFamily(f"{PREFIX}component_enabled", "1 if the component shall run.", labels=["component"])
    since = GaugeMetricFamily(f"{PREFIX}component_state_age_seconds", "Time since the last change of state.", labels=["component"])
    restarts = CounterMetricFamily(
        f"{PREFIX}component_restarts", "Restarts of the component since the start of the controller.", labels=["component"]
    )
    for component in pipeline.components:
        for each in ComponentState:
            state.add_metric([component.name, str(each)], float(component.state is each))
        desired.add_metric([component.name], float(component.desired is DesiredState.RUNNING))
        since.add_metric([component.name], max(0.0, (now_ms - component.since_ms) / 1000))
        restarts.add_metric([component.name], float(component.restarts))
    yield from (up, state, desired, since, restarts)


def _of_probes(components: Iterable[ComponentStatus]) -> Iterator[Metric]:
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for component in components:
        for metric, value in sorted(component.metrics.items()):
            found = exported(component.kind, metric)
            labels = {"component": component.name, **found.labels}
            if found.name not in families:
                family = CounterMetricFamily if found.counter else GaugeMetricFamily
                families[found.name] = family(found.name, found.help, labels=list(labels))
            families[found.name].add_metric(list(labels.values()), value * found.factor)
    yield from families.values()


def _of_calls(calls: CallMetrics) -> Iterator[Metric]:
    ended = CounterMetricFamily(f"{PREFIX}rpc_calls", "Calls of the control service that have ended.", labels=["method", "code"])
    seconds = HistogramMetricFamily(f"{PREFIX}rpc_seconds", "Time of the admitted calls of unary methods.", labels=["method"])
    for method, entry in sorted(calls.methods.items()):
        for code, count in sorted(entry.codes.items()):
            ended.add_metric([method, code], count)
        below = list(accumulate(entry.latency))
        if below[-1]:
            bounds = [*map(str, BOUNDS_S), "+Inf"]
            seconds.add_metric([method], list(zip(bounds, map(float, below), strict=True)), sum_value=entry.total_s)
    yield from (ended, seconds)
