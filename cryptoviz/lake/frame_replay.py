"""Runs recorded frames through the present parser of their venue, and compares the trades with the rows of the lake.

A trade that the lake has from the same frame, by connection and time of arrival, must be equal in every field. One that the lake has from elsewhere
is a copy: two connections overlapped, or it was refilled after a restart; then price, size and side must be equal. Memory: some thousand trades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from cryptoviz.errors import FrameError, QueryError, RecordError
from cryptoviz.lake.reader import Lake
from cryptoviz.lake.topic_reader import read_topic, spans_between, topic_exists
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_us
from cryptoviz.trades.record import Source, Trade
from cryptoviz.venues.base import StreamSession, StreamVenue
from cryptoviz.venues.events import Trades
from cryptoviz.venues.frames import FrameBatch, frames_key
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel

__all__ = ["FrameComparison", "FrameReplay", "Wanted", "frame_batches", "replay_frames"]

LATE_MS = 120_000
"""A batch has the Kafka timestamp of its first frame, and is written up to 62 s later (`actors.streaming.frame_producer`)."""
_MARGIN_US = 3_600_000_000
"""A row's `ts`, by which the lake is read, is the venue's time, near that of arrival."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_LAST_US = epoch_us(datetime.max.replace(tzinfo=UTC))
_GROUP_TRADES = 20_000
_SAMPLES = 20
_FIELDS = (
    "venue_symbol", "asset_id", "quote_currency", "trade_id", "trade_number", "price", "size", "side", "venue_ts", "ingest_ts", "source",
    "connection", "sequence", "price_double", "size_double",
)  # fmt: skip
_TIMES = frozenset(("venue_ts", "ingest_ts"))
_OF_THE_TRADE = ("price", "size", "side")
_COLUMNS = ", ".join(f"epoch_us({name}) AS {name}" if name in _TIMES else name for name in _FIELDS)
_ROWS = f"""
SELECT {_COLUMNS} FROM trades
WHERE venue = $venue AND ts >= $low AND ts <= $high AND (trade_id IN (SELECT unnest($ids)) OR
  (source = 'stream' AND ingest_ts >= $first AND ingest_ts <= $last AND connection IN (SELECT unnest($connections))))
"""  # noqa: S608 - of constants
_STREAMED = """
SELECT count(*) AS n, epoch_us(max(ingest_ts)) AS newest FROM trades
WHERE venue = $venue AND source = 'stream' AND ts >= $low AND ts <= $high AND ingest_ts >= $first AND ingest_ts < $last
"""

_Key = tuple[str, str]
"""Symbol and id of a trade."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows to read: of these trade ids, and those that came by these connections in `[first_us, last_us]`; all with a `ts` in `[low_us, high_us]`."""

    ids: tuple[str, ...]
    connections: tuple[str, ...]
    first_us: int
    last_us: int
    low_us: int
    high_us: int


@dataclass(slots=True)
class FrameReplay:
    """The result. Counts of trades, unless they say otherwise.

    Attributes:
        connections, frames: that were replayed.
        bad_frames: frames that are not as documented; their trades are a gap in the lake too.
        unreadable: records of the topic that are no frames of their key's connection.
        equal, different: the lake has the trade, with all fields equal, or not.
        missing: the lake has the trade from a recorded frame, and the replay has not.
        extra: replayed only; includes the newest until the lake has committed them.
        doubled: rows of the lake beyond the first of a replayed trade.
        copies: the lake has the trade from another connection or a refill.
        unrecorded_rows: rows of streams whose frames are not recorded, or not yet: not compared.
        lake_until: arrival of the newest trade of the venue in the lake, ISO 8601, if an extra one is newer; empty: it has none in that time.
        differences: texts of the first of them.
    """

    venue: str
    connections: int = 0
    frames: int = 0
    bad_frames: int = 0
    unreadable: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    doubled: int = 0
    copies: int = 0
    unrecorded_rows: int = 0
    lake_until: str | None = None
    differences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether each recorded trade is the lake's."""
        return not (self.different or self.missing or self.extra or self.doubled or self.unreadable)

    def note(self, text: str) -> None:
        """Keep the text of a difference, of the first `_SAMPLES`."""
        if len(self.differences) < _SAMPLES:
            self.differences.append(text)


class FrameComparison:
    """Compares batch by batch; no input or output of its own."""

    def __init__(self, venue: StreamVenue, from_us: int, until_us: int, read: Callable[[Wanted], Iterable[Row]]) -> None:
        """Frames that arrived in `[from_us, until_us)` are replayed. `read` returns rows of the venue, with `_FIELDS`; times are UTC epoch us."""
        self.result = FrameReplay(venue.spec.name)
        self.from_frames = 0
        """Rows of the lake that are of replayed frames."""
        self.newest_extra_us = 0
        """Arrival of the newest trade that the lake has not."""
        self._venue = venue
        self._instruments = {one.symbol: one for one in venue.spec.instruments()}
        self._from_us = from_us
        self._until_us = until_us
        self._read = read
        self._sessions: dict[str, StreamSession] = {}
        self._seen: set[tuple[str, int, int]] = set()
        self._doubled: set[_Key] = set()
        self._trades: dict[_Key, dict[tuple[str, int], Trade]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def add(self, batch: FrameBatch) -> None:
        """Replay a batch; one that was written twice only once."""
        frames = [(at_us, frame) for at_us, frame in batch.frames if self._from_us <= at_us < self._until_us]
        identity = (batch.connection, batch.first, hash(tuple(frames)))
        if not frames or identity in self._seen:
            return
        self._seen.add(identity)
        moments = [at_us for at_us, _ in frames]
        self._spans.setdefault(batch.connection, []).append((min(moments), max(moments)))
        session = self._session(batch)
        for at_us, frame in frames:
            self._replay(session, frame, at_us)
        if len(self._trades) >= _GROUP_TRADES:
            self.compare()

    def _session(self, batch: FrameBatch) -> StreamSession:
        found = self._sessions.get(batch.connection)
        if found is None:
            instruments = [one for symbol in batch.symbols if (one := self._instruments.get(symbol)) is not None]
            found = self._sessions[batch.connection] = self._venue.session(instruments, (Channel.TRADES,), batch.connection)
            self.result.connections += 1
        return found

    def _replay(self, session: StreamSession, frame: bytes, at_us: int) -> None:
        self.result.frames += 1
        try:
            events = session.parse(frame, at_us)
        except FrameError:
            self.result.bad_frames += 1
            return
        for event in events:
            for trade in event.trades if isinstance(event, Trades) else ():
                self._trades.setdefault((trade.venue_symbol, trade.trade_id), {}).setdefault((trade.connection, trade.ingest_ts), trade)

    def compare(self) -> None:
        """Compare what was added since the last call."""
        if not self._spans:
            return
        trades, spans = self._trades, self._spans
        self._trades, self._spans = {}, {}
        rows: dict[_Key, list[Row]] = {}
        for row in self._read(_wanted(trades, spans)):
            rows.setdefault((row["venue_symbol"], row["trade_id"]), []).append(row)
        for key, copies in trades.items():
            for trade in copies.values():
                self._judge(key, rows.get(key, ()), trade)
        for key, found in rows.items():
            replayed = trades.get(key, {})
            if len(found) > 1 and replayed and key not in self._doubled:
                self._doubled.add(key)
                self.result.doubled += len(found) - 1
                self.result.note(f"{_name(key, found[0]['ingest_ts'])}: {len(found)} rows in the lake")
            for origin in map(_origin, found):
                if not any(first <= origin[1] <= last for first, last in spans.get(origin[0], ())):
                    continue
                self.from_frames += 1
                if origin not in replayed:
                    self.result.missing += 1
                    self.result.note(f"{_name(key, origin[1])}: in the lake, not replayed")

    def _judge(self, key: _Key, rows: Sequence[Row], trade: Trade) -> None:
        result = self.result
        if not rows:
            result.extra += 1
            self.newest_extra_us = max(self.newest_extra_us, trade.ingest_ts)
            result.note(f"{_name(key, trade.ingest_ts)}: replayed, not in the lake")
            return
        of_the_frame = next((one for one in rows if _origin(one) == (trade.connection, trade.ingest_ts)), None)
        row, fields = (rows[0], _OF_THE_TRADE) if of_the_frame is None else (of_the_frame, _FIELDS)
        found = _values(trade)
        wrong = [name for name in fields if row[name] != found[name]]
        if wrong:
            result.different += 1
            result.note(f"{_name(key, trade.ingest_ts)} {', '.join(f'{name}: recorded {row[name]}, replayed {found[name]}' for name in wrong)}")
        elif of_the_frame is not None:
            result.equal += 1
        else:
            result.copies += 1


def replay_frames(settings: Settings, venue: str, start: datetime, end: datetime) -> FrameReplay:
    """Replay the frames of a venue that arrived in `[start, end)`, and compare their trades with the lake's. Blocking.

    Raises:
        SettingsError: no such venue.
        QueryError: no frame of it is recorded in that time.
        EngineUnavailable: Kafka or the object store does not answer.
    """
    kafka, lake = settings.kafka, Lake(settings)
    from_us, until_us = epoch_us(start), epoch_us(end)

    def read(wanted: Wanted) -> list[dict[str, Any]]:
        parameters = {
            "venue": venue, "ids": list(wanted.ids), "connections": list(wanted.connections), "first": _utc(wanted.first_us),
            "last": _utc(wanted.last_us), "low": _utc(wanted.low_us), "high": _utc(wanted.high_us),
        }  # fmt: skip
        rows: list[dict[str, Any]] = lake.query(_ROWS, parameters=parameters).arrow().to_pylist()
        return rows

    comparison = FrameComparison(venue_of(venue), from_us, until_us, read)
    result = comparison.result
    if topic_exists(kafka, kafka.frames_topic):
        spans = spans_between(kafka, kafka.frames_topic, from_us // 1_000 - LATE_MS, until_us // 1_000 + LATE_MS)
        for batch in frame_batches(read_topic(kafka, kafka.frames_topic, spans), venue, result):
            comparison.add(batch)
        comparison.compare()
    if not result.frames and not result.unreadable:
        text = f"no frame of {venue} between {_iso(from_us)} and {_iso(until_us)} is in the topic {kafka.frames_topic}"
        raise QueryError(f"{text}: {_why_none(settings, venue)}", argument="start")
    parameters = {"venue": venue, "low": _utc(from_us - _MARGIN_US), "high": _utc(until_us + _MARGIN_US), "first": start, "last": end}
    streamed = lake.query(_STREAMED, parameters=parameters).arrow().to_pylist()[0]
    result.unrecorded_rows = max(0, streamed["n"] - comparison.from_frames)
    if comparison.newest_extra_us > (newest_us := streamed["newest"] or 0):
        result.lake_until = _iso(newest_us) if newest_us else ""
    return result


def _why_none(settings: Settings, venue: str) -> str:
    streams = settings.streams
    if not streams.raw_frames:
        return f"CRYPTOVIZ_STREAMS__RAW is {streams.raw}: all or sample records them"
    if venue not in streams.venues:
        return f"CRYPTOVIZ_STREAMS__VENUES is {','.join(streams.venues)}"
    kept = f"frames are kept for {streams.raw_keep_hours} h (CRYPTOVIZ_STREAMS__RAW_KEEP_HOURS)"
    return f"CRYPTOVIZ_STREAMS__RAW is {streams.raw}; {kept}, and are in the topic some seconds after they arrived"


def frame_batches(messages: Iterable[Any], venue: str, result: FrameReplay) -> Iterator[FrameBatch]:
    """The batches of a venue in records of the topic; those that are none are counted in `result`."""
    key = frames_key(venue, "")
    for message in messages:
        if not (message.key() or b"").startswith(key):
            continue
        try:
            batch = _decoded(message)
        except RecordError as error:
            result.unreadable += 1
            result.note(f"record {message.partition()}:{message.offset()} of {message.topic()}: {error.message}")
        else:
            yield batch


def _decoded(message: Any) -> FrameBatch:
    batch = FrameBatch.decode(message.value() or b"")
    if frames_key(batch.venue, batch.connection) != message.key():
        raise RecordError(f"recorded frames are of {batch.venue}:{batch.connection}, and not of the record's key", reason="invalid_frames")
    return batch


def _wanted(trades: Mapping[_Key, Mapping[tuple[str, int], Trade]], spans: Mapping[str, list[tuple[int, int]]]) -> Wanted:
    first = min(low for each in spans.values() for low, _ in each)
    last = max(high for each in spans.values() for _, high in each)
    moments = [first, last, *(one.venue_ts for copies in trades.values() for one in copies.values() if one.venue_ts is not None)]
    ids = tuple(sorted({trade_id for _, trade_id in trades}))
    return Wanted(ids, tuple(spans), first, last, min(moments) - _MARGIN_US, max(moments) + _MARGIN_US)


def _origin(row: Row) -> tuple[str, int]:
    """Connection and arrival of the frame that brought a row; no connection if none did."""
    return (row["connection"] if row["source"] == Source.STREAM else "", row["ingest_ts"])


def _values(trade: Trade) -> dict[str, Any]:
    found = {name: getattr(trade, name) for name in _FIELDS if not name.endswith("_double")}
    price, size = Decimal(trade.price), Decimal(trade.size)
    return found | {"price": price, "size": size, "price_double": float(price), "size_double": float(size)}


def _name(key: _Key, at_us: int) -> str:
    return f"{_iso(at_us)} {key[0]} {key[1]}"


def _iso(moment_us: int) -> str:
    return _utc(moment_us).isoformat().replace("+00:00", "Z")


def _utc(moment_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(0, moment_us), _LAST_US))
