"""dead-letters: list, show, export and replay records that failed to decode or validate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich import box
from rich.table import Table

from cryptoviz.cli.commands.operations import run_operation
from cryptoviz.cli.options import invalid_arguments, refuse_before_subcommand, refuse_together
from cryptoviz.cli.terminal import echo, echo_json, printable, terminal
from cryptoviz.errors import EngineUnavailable, QueryError
from cryptoviz.operations import ReplayDeadLettersArguments
from cryptoviz.running_pipeline import running_settings
from cryptoviz.settings import KafkaSettings
from cryptoviz.times import epoch_ms, moment, utc

if TYPE_CHECKING:
    from cryptoviz.lake import Lake
    from cryptoviz.lake.dead_letter_log import RecordPosition

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output; bytes as base64.")]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", "-r", help="Only this reason, as the list shows it (the part before the colon); repeatable. Default: all."),
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only records since this time (Kafka timestamp): ISO 8601 with an offset or Z. Default: all.")
]
_COLUMNS = "SELECT topic, kafka_topic_id, kafka_partition AS partition, kafka_offset AS offset, kafka_ts AS time, reason, key, value"
_ONE = f"{_COLUMNS} FROM dead_letters WHERE topic = $topic AND kafka_partition = $partition AND kafka_offset = $offset"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(help="Records that failed to decode or validate: list, show, export, and publish again after a fix.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(dead_letters)
    group.command()(replay)
    app.add_typer(group, name="dead-letters")


def dead_letters(
    context: typer.Context,
    reason: Reasons = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of rows, newest first.")] = 50,
    show: Annotated[str | None, typer.Option("--show", metavar="TOPIC:PARTITION:OFFSET", help="Show one record in full. Default: the list.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write all matching records to FILE: .parquet, .csv or .ndjson. Default: the list.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the number of dead letters by reason, then the newest."""
    if context.invoked_subcommand is not None:
        refuse_before_subcommand(context)
        return
    refuse_together(context, "--show", "--export", "--reason", "--since", "--limit")
    refuse_together(context, "--export", "--json", "--limit")
    from cryptoviz.lake import Lake  # Arrow and DuckDB take a second to import: only when used
    from cryptoviz.lake.dead_letter_log import RecordPosition

    with invalid_arguments("--show"):
        place = None if show is None else RecordPosition.parse(show)
    settings = running_settings()
    lake = Lake(settings)
    if place is not None:
        _show(lake, place, as_json=as_json)
    elif export is not None:
        _export(lake, _chosen(reason, since), export)
    else:
        _list(lake, _chosen(reason, since), limit, settings.kafka, as_json=as_json)


def replay(reason: Reasons = None, since: Since = None, as_json: Json = False) -> None:
    """Publish dead letters that are valid now to their topic again, exactly once; the others stay. Needs a running pipeline."""
    start = moment(since, "--since")
    start_ms = None if start is None else epoch_ms(start)
    run_operation(ReplayDeadLettersArguments(reasons=tuple(reason or ()), start_ms=start_ms), as_json=as_json)


def _chosen(reasons: list[str] | None, since: str | None) -> dict[str, Any]:
    return {"reasons": reasons or None, "start": moment(since, "--since"), "end": None}


def _marked(rows: list[dict[str, Any]], kafka: KafkaSettings) -> list[dict[str, Any]]:
    """The rows with the time at which a replay published each (None: not published), from Kafka's replay log; without Kafka, a warning."""
    from cryptoviz.lake.dead_letter_log import origin, read_replay_log  # as above

    replays: dict[str, dict[str, Any]] = {}
    if rows:
        try:
            replays = read_replay_log(kafka)
        except EngineUnavailable as error:
            echo(f"cannot tell which were published again: {error.message}", err=True)
    entries = (replays.get(origin(row["kafka_topic_id"], row["partition"], row["offset"])) for row in rows)
    times = (entry and utc(entry["replayed_ms"]) for entry in entries)
    return [row | {"published_again": time} for row, time in zip(rows, times, strict=True)]


def _list(lake: Lake, chosen: dict[str, Any], limit: int, kafka: KafkaSettings, *, as_json: bool) -> None:
    from cryptoviz.lake.dead_letter_log import CHOSEN, preview  # as above

    counted = f"SELECT split_part(reason, ':', 1) AS reason, count(*) AS n {CHOSEN} GROUP BY ALL ORDER BY n DESC, reason"
    counts = lake.query(counted, parameters=chosen).arrow().to_pylist()
    newest = f"{_COLUMNS} {CHOSEN} ORDER BY kafka_ts DESC, kafka_partition, kafka_offset DESC LIMIT $limit"
    rows = _marked(lake.query(newest, parameters=chosen | {"limit": limit}).arrow().to_pylist(), kafka)
    total = sum(count["n"] for count in counts)
    if as_json:
        by_reason = {count["reason"]: count["n"] for count in counts}
        echo_json({"total": total, "by_reason": by_reason, "rows": [_plain(row) for row in rows]}, orjson.OPT_UTC_Z)
        return
    console = terminal()
    if not rows:
        console.print("No dead letters.")
        return
    console.print(
        f"{total} dead letter{'' if total == 1 else 's'}: " + ", ".join(f"{count['reason']} {count['n']}" for count in counts), highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topic:partition:offset", no_wrap=True)  # what `--show` takes
    marked = any(row["published_again"] for row in rows)
    for column in ("time (UTC)", "reason", *(["published again"] if marked else []), "bytes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        place = f"{row['topic']}:{row['partition']}:{row['offset']}"
        again_at = [_time(row["published_again"])] if marked else []
        table.add_row(place, _time(row["time"]), printable(row["reason"]), *again_at, printable(preview(row["value"])))
    console.print(table)
    if total > len(rows):
        console.print(f"… {total - len(rows)} older: --limit, --reason, --since, or --export FILE", style="dim")


def _show(lake: Lake, place: RecordPosition, *, as_json: bool) -> None:
    asked = {"topic": place.topic, "partition": place.partition, "offset": place.offset}
    rows = lake.query(_ONE, parameters=asked).arrow().to_pylist()
    if not rows:
        raise QueryError(f"no dead letter at {place}; `cryptoviz dead-letters` lists them", argument="--show")
    if as_json:
        echo_json([_plain(row) for row in rows], orjson.OPT_UTC_Z)
        return
    for row in rows:  # more than one row only if the topic was recreated
        size = "null" if row["value"] is None else f"{len(row['value'])} bytes"
        echo(f"{place}  {_time(row['time'])}  topic id {row['kafka_topic_id']}")
        echo(f"reason: {printable(row['reason'])}")
        echo(f"key:    {printable(_text(row['key']))}")
        echo(f"value:  {size}")
        if row["value"] is not None:
            echo(_text(row["value"]))


def _export(lake: Lake, chosen: dict[str, Any], output: Path) -> None:
    from cryptoviz.cli.output import chosen_format, write_rows  # as above
    from cryptoviz.lake.dead_letter_log import CHOSEN

    form = chosen_format(None, output, "--export")
    schema, batches = lake.stream(f"SELECT * EXCLUDE (year, month, day) {CHOSEN} ORDER BY kafka_ts, kafka_partition, kafka_offset", parameters=chosen)
    write_rows(schema, batches, form, output)
    echo(f"written to {output}")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    from base64 import b64encode

    return {name: b64encode(value).decode() if isinstance(value, bytes) else value for name, value in row.items()}


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _text(value: bytes | None) -> str:
    return "(null)" if value is None else value.decode("utf-8", "backslashreplace")
