"""Dead-letter replay: publishes dead letters that the current code accepts to their topic again, each once.

A record and its entry in the replay log (a compacted topic; key: position of the dead letter) are written in one Kafka transaction under one
transactional id, so that a killed replay leaves both or neither, and a concurrent replay is fenced. Records whose event is in the lake, or in Kafka
and not yet in the lake, are skipped.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_after_delay, stop_when_event_set, wait_exponential_jitter

from cryptoviz.errors import EngineUnavailable, LakeError, SettingsError
from cryptoviz.kafka import Fenced, OwnedProducer, Record, Refusal, admin_client
from cryptoviz.lake import Lake
from cryptoviz.lake.dead_letter_log import CHOSEN, origin, read_replay_log, word
from cryptoviz.lake.delta import open_table
from cryptoviz.lake.identity import identities, identity_of
from cryptoviz.lake.kafka_audit import values_since
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.topic_reader import topic_exists
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from spark_jobs.streaming.decode import decode
from spark_jobs.tables.record_spec import RecordSpec, topic_specs

__all__ = ["HEADER", "DeadLetterReplay", "ReplayCounts"]

HEADER = "cryptoviz-replay-of"
"""Header of a replayed record: `<topic id>:<partition>:<offset>` of its dead letter."""

_TRANSACTIONAL_ID = "cryptoviz-dead-letter-replay"
_TIMEOUT_S = 30.0
_ROWS = 500  # dead letters in a transaction
_COUNT = "SELECT count(*) AS n " + CHOSEN
_LETTERS = f"""SELECT topic, kafka_ts, key, value, reason, kafka_topic_id, kafka_partition, kafka_offset {CHOSEN}
    ORDER BY kafka_ts, kafka_partition, kafka_offset"""

log = get_logger("dead-letters")


@dataclass(slots=True)
class ReplayCounts:
    """Counts of examined dead letters by outcome. `still_bad`: by reason, as the current code gives it."""

    looked_at: int = 0
    published: int = 0
    done_before: int = 0
    in_lake: int = 0
    still_bad: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A dead letter that is now valid."""

    topic: str
    table: str
    origin: str
    identity: str
    tick_ts: datetime
    key: bytes | None
    value: bytes
    reason: str


class DeadLetterReplay:
    """A replay. Blocking and not thread-safe, except for `stop`."""

    def __init__(self, settings: Settings, reasons: Sequence[str] = (), start: datetime | None = None, end: datetime | None = None) -> None:
        """Select dead letters by the first word of their reason (empty: any) and by Kafka timestamp in `[start, end)`. No request is made yet."""
        self._settings = settings
        self._chosen = {"reasons": list(reasons) or None, "start": start, "end": end}
        self._lake = Lake(settings)
        self._specs: Mapping[str, RecordSpec] = topic_specs(settings)
        self._stopping = threading.Event()
        self._done: set[str] = set()
        self._known: set[str] = set()
        self._now = datetime.now(UTC)

    def stop(self) -> None:
        """Stop after the current transaction."""
        self._stopping.set()

    def run(self, report: Callable[[int, int], None] = lambda _done, _total: None) -> ReplayCounts:
        """Replay all, or up to `stop`. `report` receives the number of examined dead letters and the total.

        Raises:
            EngineUnavailable: Kafka or the object store does not answer; published records are in the replay log.
            LakeError: another replay has started and fenced this one.
            SettingsError: the replay log topic is one of the topics that carry records.
        """
        replayed = ReplayCounts()
        total = int(self._lake.query(_COUNT, parameters=self._chosen).arrow().column("n")[0].as_py())
        if total == 0:
            return replayed
        self._ensure_ledger()
        kafka = self._settings.kafka
        producer = OwnedProducer(kafka, f"{_TRANSACTIONAL_ID}-{kafka.ledger_topic}", kafka.ledger_topic)
        try:
            self._begin(producer)
            for rows in self._batches():
                if self._stopping.is_set():
                    break
                self._publish(producer, list(self._candidates(rows, replayed)), replayed)
                replayed.looked_at += rows.num_rows
                report(replayed.looked_at, total)
        except Fenced as error:
            raise LakeError("another dead-letter replay has started and fenced this one", table="dead_letters") from error
        finally:
            producer.close()
        log.info("dead_letters_replayed", looked_at=replayed.looked_at, published=replayed.published, still_bad=sum(replayed.still_bad.values()))
        return replayed

    def _batches(self) -> Iterator[pa.RecordBatch]:
        _, batches = self._lake.stream(_LETTERS, parameters=self._chosen)
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)

    def _begin(self, producer: OwnedProducer) -> None:
        """Fence an earlier replay; read the replay log and the identities that Kafka has and the lake does not have yet."""
        for attempt in self._retrying():
            with attempt:
                producer.connect()
        replayed = read_replay_log(self._settings.kafka)
        self._done.update(replayed)
        self._known.update(entry["identity"] for entry in replayed.values())
        for topic, spec in self._specs.items():
            self._known.update(self._pending(topic, spec))

    def _retrying(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.2),
            stop=stop_after_delay(_TIMEOUT_S) | stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            reraise=True,
        )

    def _ensure_ledger(self) -> None:
        kafka = self._settings.kafka
        if kafka.ledger_topic in self._specs:
            setting = "CRYPTOVIZ_KAFKA__LEDGER_TOPIC"
            raise SettingsError(f"{setting} is {kafka.ledger_topic!r}, which carries records: it must be a separate topic", setting=setting)
        if topic_exists(kafka, kafka.ledger_topic):
            return
        admin = admin_client(kafka)
        topic = NewTopic(kafka.ledger_topic, num_partitions=1, replication_factor=-1, config={"cleanup.policy": "compact"})
        try:
            admin.create_topics([topic], request_timeout=_TIMEOUT_S)[kafka.ledger_topic].result(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                text = f"cannot create the topic {kafka.ledger_topic} (CRYPTOVIZ_KAFKA__LEDGER_TOPIC): {error.args[0].str()}"
                raise EngineUnavailable(text, engine="kafka", address=kafka.bootstrap_servers) from error

    def _pending(self, topic: str, spec: RecordSpec) -> Iterator[str]:
        """Identities of the records in Kafka past the table's progress."""
        table = open_table(table_address(self._settings.s3, spec.table).uri, self._settings.s3.storage_options())
        progress = None if table is None else read_progress(table)
        for value in values_since(self._settings, topic, progress.offsets if progress else {}):
            try:
                record = orjson.loads(value)
            except orjson.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield identity_of(record, spec.table)

    def _candidates(self, rows: pa.RecordBatch, replayed: ReplayCounts) -> Iterator[_Candidate]:
        """Dead letters of a record batch that are now valid and not published yet."""
        topics = rows.column("topic").to_pylist()
        for topic in dict.fromkeys(topics):
            own = rows.take(pa.array([index for index, name in enumerate(topics) if name == topic]))
            spec = self._specs.get(topic)
            if spec is None:
                replayed.still_bad["unknown_topic"] += own.num_rows
                continue
            # Checked against the Kafka timestamp of the dead letter, not the current time: a tick too far ahead of it stays implausible.
            stamps = own.column("kafka_ts").cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
            decoded = decode(own.column("value"), stamps, spec, self._settings.kafka.max_record_bytes)
            replayed.still_bad.update(word(bad.reason) for bad in decoded.bad)
            found = identities(decoded.rows, spec.table)
            ticks = decoded.rows.column(spec.time).to_pylist()
            letters = own.take(decoded.good).to_pylist()
            for letter, identity, tick_ts in zip(letters, found, ticks, strict=True):
                place = origin(letter["kafka_topic_id"], letter["kafka_partition"], letter["kafka_offset"])
                if place in self._done:
                    replayed.done_before += 1
                elif identity in self._known:
                    replayed.in_lake += 1
                elif tick_ts > self._now:  # the collector resumes after the newest tick of the topic
                    replayed.still_bad["bad_time"] += 1
                else:
                    self._known.add(identity)
                    yield _Candidate(topic, spec.table, place, identity, tick_ts, letter["key"], letter["value"], letter["reason"])

    def _publish(self, producer: OwnedProducer, candidates: list[_Candidate], replayed: ReplayCounts) -> None:
        there = self._in_lake(candidates)
        replayed.in_lake += len(there)
        wanted = [one for one in candidates if one.origin not in there]
        if not wanted:
            return
        records: list[Record] = []
        for one in wanted:
            entry = {"topic": one.topic, "identity": one.identity, "reason": one.reason, "replayed_ms": time.time_ns() // 1_000_000}
            records.append(Record(one.topic, one.key, one.value, ((HEADER, one.origin.encode()),)))
            records.append(Record(self._settings.kafka.ledger_topic, one.origin.encode(), orjson.dumps(entry)))
        entries = {index: index - 1 for index in range(1, len(records), 2)}  # an entry is published only with its record
        identity = uuid.uuid4().hex
        refusals: tuple[Refusal, ...] = ()
        for attempt in self._retrying():
            with attempt:
                if attempt.retry_state.attempt_number > 1 and producer.connect().identity == identity:
                    refusals = producer.refused(identity)
                    break
                refusals = producer.commit(records, None, identity, entries)
        refused = {refusal.index // 2 for refusal in refusals}
        self._done.update(one.origin for number, one in enumerate(wanted) if number not in refused)
        replayed.published += len(wanted) - len(refused)
        if refused:
            replayed.still_bad["refused_by_kafka"] += len(refused)

    def _in_lake(self, candidates: list[_Candidate]) -> set[str]:
        """Origins of the candidates whose event is already in the lake; one query for each day and table."""
        by_day: dict[tuple[str, datetime], list[_Candidate]] = {}
        for one in candidates:
            by_day.setdefault((one.table, one.tick_ts.replace(hour=0, minute=0, second=0, microsecond=0)), []).append(one)
        found: set[str] = set()
        for (table, day), of_day in by_day.items():
            there = self._lake.present(table, [one.identity for one in of_day], day, day + timedelta(days=1))
            found.update(one.origin for one in of_day if one.identity in there)
        return found
