"""streams replay: run recorded frames through the present parser of their venue, and compare the trades with the lake's."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cryptoviz.cli.options import invalid_arguments
from cryptoviz.cli.terminal import echo, echo_json
from cryptoviz.errors import UsageError
from cryptoviz.running_pipeline import running_settings
from cryptoviz.times import moment

if TYPE_CHECKING:
    from cryptoviz.lake.frame_replay import FrameReplay

__all__ = ["replay", "replay_text"]


def replay(
    venue: Annotated[str, typer.Argument(help="Venue, such as kraken.", metavar="VENUE")],
    start: Annotated[str, typer.Option("--from", help="Arrival of the first frame, ISO 8601 with an offset or Z.", metavar="TIME")],
    end: Annotated[str, typer.Option("--to", help="End of the range, exclusive; same format.", metavar="TIME")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Parse the recorded frames of a venue again, and compare their trades with the lake's.

    Frames are recorded with CRYPTOVIZ_STREAMS__RAW=all or sample. Exit code 0 if every field of every trade is equal; 1 if a trade differs, is
    missing, is extra or is twice in the lake, or a record of the topic is no frame.
    """
    with invalid_arguments("--from"):
        first = _time(start, "--from")
    with invalid_arguments("--to"):
        last = _time(end, "--to")
    if first >= last:
        raise UsageError(f"--from {start} is not before --to {end}", setting="--from")
    from cryptoviz.lake.frame_replay import replay_frames  # Arrow and DuckDB take a second to import
    from cryptoviz.venues.registry import known_venues

    if venue not in known_venues():
        raise UsageError(f"VENUE is {venue[:64]!r}: valid are {', '.join(known_venues())}", setting="VENUE")
    found = replay_frames(running_settings(), venue, first, last)
    if as_json:
        echo_json(asdict(found) | {"ok": found.ok})
    else:
        echo(replay_text(found))
    raise typer.Exit(0 if found.ok else 1)


def replay_text(found: FrameReplay) -> str:
    """The result for people."""
    bad = f" ({found.bad_frames:,} not as documented)" if found.bad_frames else ""
    lines = [f"{found.venue}: {found.frames:,} frames{bad} of {found.connections:,} connections"]
    counts = ("equal", "different", "missing", "extra")
    lines.append(f"trades: {', '.join(f'{getattr(found, name):,} {name}' for name in counts)}; {found.copies:,} copies of trades from elsewhere")
    if found.doubled:
        lines.append(f"{found.doubled:,} rows of the lake are of trades that it has already")
    if found.lake_until is not None:
        newest = f"the newest trade of the lake in this time arrived {found.lake_until}" if found.lake_until else "the lake has no trade of this time"
        lines.append(f"{newest}: later ones are extra until the lake has them")
    if found.unrecorded_rows:
        lines.append(f"{found.unrecorded_rows:,} rows of the lake are of frames that are not recorded, or not yet: not compared")
    if found.unreadable:
        lines.append(f"{found.unreadable:,} records of the topic are no frames of their connection")
    return "\n".join([*lines, *(f"  {text}" for text in found.differences)])


def _time(text: str, option: str) -> datetime:
    found = moment(text, option)
    if found is None:
        raise UsageError(f"{option} is empty: valid is a time, such as 2026-01-31T12:00:00Z", setting=option)
    return found
