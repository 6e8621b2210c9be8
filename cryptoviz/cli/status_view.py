"""The pipeline's status as a terminal table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.terminal import printable
from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = ["STATE_STYLES", "age", "pipeline_view"]

STATE_STYLES: Mapping[ComponentState, str] = {
    ComponentState.RUNNING: "green",
    ComponentState.STARTING: "cyan",
    ComponentState.STOPPING: "cyan",
    ComponentState.DEGRADED: "yellow",
    ComponentState.BACKOFF: "yellow",
    ComponentState.FAILED: "bold red",
    ComponentState.STOPPED: "dim",
}
# A selection for the table; `status --json` has all metrics.
_SHOWN_METRICS = (
    "rows_total",
    "lag_records",
    "last_commit_age_s",
    "ticks_published_total",
    "last_publish_age_s",
    "last_poll_age_s",
    "latency_ms",
    "requests_total",
    "trades_total",
    "gaps_open",
)


def age(seconds: float) -> str:
    """A rounded duration: `8 s`, `3 min`, `2 h`, `5 d`."""
    for limit, unit, size in ((120.0, "s", 1.0), (7200.0, "min", 60.0), (172_800.0, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def pipeline_view(pipeline: PipelineStatus, addresses: Iterable[tuple[str, str]], now_s: float | None = None) -> RenderableType:
    """State line, one row per component, addresses. Nodes are shown if there are several."""
    moment = time.time() if now_s is None else now_s
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for heading in ("component", "state"):
        table.add_column(heading)
    for heading in ("for", "restarts"):
        table.add_column(heading, justify="right")
    several = len({node for component in pipeline.components for node in component.nodes}) > 1
    if several:
        table.add_column("node")
    table.add_column("activity")
    for component in pipeline.components:
        table.add_row(
            printable(component.name),
            Text(str(component.state), style=STATE_STYLES[component.state]),
            age(max(0.0, moment - component.since_ms / 1000)),
            str(component.restarts) if component.restarts else "",
            *([printable(", ".join(dict.fromkeys(component.nodes)))] if several else []),
            Text(printable(_activity(component)), overflow="ellipsis", no_wrap=True),
        )
    head = Text.assemble(("CryptoViz ", "bold"), (str(pipeline.state), STATE_STYLES[pipeline.state]), f"  {printable(pipeline.reason)}")
    if pipeline.replayed:
        head.append("  REPLAYED DATA: recorded history, not live", style="magenta")
    links = Table.grid(padding=(0, 2))
    for name, address in addresses:
        links.add_row(Text(name, style="dim"), Text(address))
    return Group(head, table, links)


def _activity(component: ComponentStatus) -> str:
    shown = [
        f"{name.removesuffix('_total').replace('_', ' ')} {_number(component.metrics[name])}" for name in _SHOWN_METRICS if name in component.metrics
    ]
    if component.state is ComponentState.RUNNING:
        return ", ".join(shown) or component.message
    return component.message or str(component.trigger)


def _number(value: float) -> str:
    """Rounded to an integer, unless that would show 0 for a non-zero value."""
    return f"{value:,.0f}" if value == 0 or abs(value) >= 1 else f"{value:.2g}"
