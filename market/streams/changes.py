"""The faults of single trades: which trades are sent, in which order, and with which change of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from market.faultbook import ActiveFault
from market.stream_faults import StreamDrop, StreamDuplicate, StreamGarbage, StreamHuge, StreamReorder, StreamTruncated, TradeParameters
from market.streams.protocol import Frame
from market.tape import Trade

__all__ = ["Reordering", "Run", "changed_frames", "runs_of"]


@dataclass(slots=True)
class Reordering:
    """The trade of an instrument that waits for its successor."""

    held: Trade | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Trades that are sent with the same change of their frames; None: unchanged."""

    trades: list[Trade]
    change: TradeParameters | None


def runs_of(trades: list[Trade], symbol: str, faults: Sequence[ActiveFault], now_s: float, reordering: Reordering) -> list[Run]:
    """The trades after the faults. Counts the hits."""
    if not faults and reordering.held is None:
        return [Run(trades, None)] if trades else []
    runs: list[Run] = []
    for trade in trades:
        hits = _hits(symbol, faults, now_s)
        if any(isinstance(hit, StreamDrop) for hit in hits):
            continue
        if reordering.held is None and any(isinstance(hit, StreamReorder) for hit in hits):
            reordering.held = trade
            continue
        change = next((hit for hit in hits if isinstance(hit, StreamGarbage | StreamTruncated | StreamHuge)), None)
        times = 2 if any(isinstance(hit, StreamDuplicate) for hit in hits) else 1
        _add(runs, [trade] * times, change)
        if reordering.held is not None:
            _add(runs, [reordering.held], None)
            reordering.held = None
    return runs


def changed_frames(frames: list[Frame], change: TradeParameters | None) -> list[Frame]:
    """The frames of a run."""
    match change:
        case StreamGarbage():
            return [sent for frame in frames for sent in (Frame(change.text, []), frame)]
        case StreamTruncated():
            return [Frame(frame.payload[: int(len(frame.payload) * change.fraction)], []) for frame in frames]
        case StreamHuge():
            return [Frame(frame.payload.ljust(change.size_bytes), frame.trades) for frame in frames]
        case _:
            return frames


def _hits(symbol: str, faults: Sequence[ActiveFault], now_s: float) -> list[TradeParameters]:
    found: list[TradeParameters] = []
    for fault in faults:
        parameters = fault.parameters
        if not isinstance(parameters, TradeParameters) or (parameters.symbols and symbol not in parameters.symbols):
            continue
        if not fault.over(now_s) and fault.meets(fault.provider):
            found.append(parameters)
    return found


def _add(runs: list[Run], trades: list[Trade], change: TradeParameters | None) -> None:
    if change is None and runs and runs[-1].change is None:
        runs[-1].trades.extend(trades)
    else:
        runs.append(Run(list(trades), change))
