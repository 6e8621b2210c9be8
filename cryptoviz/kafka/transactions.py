"""Transactional producer that stores its progress in Kafka and claims its transactional id.

Each transaction also commits the producer's progress, as the offset metadata of a consumer group named like the transactional id: position, identity
of the last transaction, and owner. Kafka commits or aborts both together, so that after a lost response one look-up shows the outcome of the
transaction, whatever other producers write to the topic (docs/adr/0008-progress-travels-with-the-transaction.md).

Kafka reports two causes of fencing alike: a successor took over, or the transaction timed out because the process was paused or the broker slow. A
producer therefore *claims* the id with a first transaction. After fencing it reads the claim: if it is its own, it reconnects, otherwise it stops.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

from cryptoviz.errors import EngineUnavailable, TerminalError
from cryptoviz.kafka.abandoned import abort_abandoned, is_timeout
from cryptoviz.kafka.clients import admin_client, consumer, producer
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings

__all__ = ["Fenced", "KafkaClients", "OwnedProducer", "Progress", "Record", "Refusal", "progress_of"]

CONNECT_TIMEOUT_S = 10.0
LINGER_MS = 2
RETRY_BACKOFF_MS = 10
_REPORT_S = 0.1
_LENGTHS = 16
"""Bytes by which records of equal size can differ in Kafka: a length takes one to five bytes."""
_APART = 64
"""Maximum of records sent one by one in a transaction, within its timeout."""
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)
"""Permanent rejections of a record. All other errors concern the broker, the network or the transaction."""
_LEVEL = {True: "read_committed", False: "read_uncommitted"}
_METADATA_CHARS = 1024
"""Maximum length of an identity. The broker accepts 4096 bytes of offset metadata (`offset.metadata.max.bytes`)."""

_log = get_logger("kafka-progress")


class Fenced(TerminalError):
    """Another producer has claimed the transactional id; `transactional_id`. The caller must stop."""

    transactional_id: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Stored by the last transaction of an id. Callers set `position` (None before the first) and `leaps`, as `actors.taken_ticks` says."""

    position: int | None
    identity: str
    owner: str
    claim: int
    topic_id: str
    leaps: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the broker rejects permanently: its index in the transaction and the reason."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class KafkaClients:
    """Client factories; tests replace them by an in-memory broker."""

    producer: Callable[..., Any] = producer
    consumer: Callable[..., Any] = consumer
    admin: Callable[..., Any] = admin_client


class OwnedProducer:
    """Producer for one transactional id. The constructor makes no connection. Not thread-safe."""

    def __init__(
        self, kafka: KafkaSettings, transactional_id: str, topic: str, clients: KafkaClients | None = None, also: Sequence[str] = ()
    ) -> None:
        """`topic`: the topic of the progress, which is valid as long as the topic exists. `also`: other topics that it writes to."""
        self._also = tuple(also)
        self._kafka = kafka
        self._id = transactional_id
        self._place = (topic, 0)
        self._clients = clients or KafkaClients()
        self._owner = uuid.uuid4().hex
        self._holds = False
        self._producer: Any = None
        self._admin: Any = None
        self._group: Any = None
        self._topic_id, self._replaced = "", ("", 0)  # the latter: owner and claim before ours
        self._tried: tuple[str, tuple[Refusal, ...]] = ("", ())
        # Of the last acknowledged transaction, and the progress before it.
        self._last: tuple[Sequence[Record], Sequence[Sequence[int]], Progress | None] = ((), (), None)
        self._timeout_s = kafka.transaction_timeout_ms / 1000
        self._log = get_logger(transactional_id)
        self.progress = Progress(None, "", self._owner, 0, "")

    def connect(self, look: Callable[[], int | None] = lambda: None) -> Progress:
        """Fence all earlier producers of the id, read the progress, and claim the id.

        Args:
            look: finds the position if there is no progress: at the first start on a topic, or after the broker has expired it.

        Raises:
            EngineUnavailable: retry.
            Fenced: another producer has claimed the id since.
        """
        self.close()
        try:
            if self._holds:
                self._check_owner(self._read(stable=False))
            found = self._open()
            topic_id = self._topic_id = _topic_id_of(self._admin, self._place[0])
            if found is None or found.topic_id != topic_id:  # a re-created topic has none of the published records
                found = Progress(look(), "", self._owner, found.claim if found else 0, topic_id)
            claimed = replace(found, owner=self._owner, claim=found.claim + 1)
            self._commit([], [[]], claimed)
            self._replaced = (found.owner, found.claim)
            self._last = ((), (), None)
        except (KafkaException, TimeoutError) as error:
            raise self._unavailable(error) from None
        self._holds = True
        self.progress = claimed
        return claimed

    def commit(
        self,
        records: Sequence[Record],
        position: int | None,
        identity: str,
        follows: Mapping[int, int] | None = None,
        leaps: Sequence[Sequence[int]] = (),
    ) -> tuple[Refusal, ...]:
        """Publish the records and the progress in one transaction. Returns the records that the broker rejects permanently, which are left out.

        Args:
            records: records to publish.
            position: for `Progress`.
            identity: for `Progress`.
            follows: maps the index of a record to the index of another without which it is not published either.
            leaps: for `Progress`.

        Raises:
            EngineUnavailable: nothing was published, or the outcome is unknown: call `connect` and compare its progress.
            Fenced: another producer has claimed the id.
        """
        after = replace(self.progress, position=position, identity=identity[:_METADATA_CHARS], leaps=[list(leap) for leap in leaps])
        refused: dict[int, str] = {}
        groups = [list(range(len(records)))]
        self._tried = (after.identity, ())
        try:
            while bad := self._commit(records, groups, after):
                groups = _narrowed(records, groups, bad, refused)
                refused |= {index: refused[leader] for index, leader in (follows or {}).items() if leader in refused}
                groups = [left for group in groups if (left := [index for index in group if index not in refused])]
                # Set before the next try: if its answer is lost, these are the records that it was sent without.
                self._tried = (after.identity, tuple(Refusal(index, reason) for index, reason in sorted(refused.items())))
                self._open()  # librdkafka's sequence numbers are wrong after the broker has rejected a record batch
        except (KafkaException, BufferError, TimeoutError) as error:
            raise self._unavailable(error) from None
        self._last = (records, groups, self.progress)
        self.progress = replace(after, topic_id=self._topic_id)
        return self._tried[1]

    def refused(self, identity: str) -> tuple[Refusal, ...]:
        """Records that the broker rejected of the last `commit`, if it had this identity: for a commit published although its answer was lost."""
        tried, refusals = self._tried
        return refusals if tried == identity[:_METADATA_CHARS] else ()

    def close(self) -> None:
        """Discard the producer without flushing; the successor aborts an open transaction."""
        dropped, self._producer, self._admin = self._producer, None, None
        if dropped is not None:
            try:
                dropped.purge()
            except KafkaException as error:
                self._log.debug("purge_failed", reason=str(error))

    def _open(self) -> Progress | None:
        """Create a new producer, which aborts an open transaction of the previous one, and read the progress."""
        self.close()
        kafka = self._kafka
        self._producer = self._clients.producer(
            kafka,
            {
                "transactional.id": self._id,
                "client.id": self._id,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": LINGER_MS,
                # The broker refuses a transaction until it has completed the producer's previous one, a few ms; librdkafka would try again after 100.
                "retry.backoff.ms": RETRY_BACKOFF_MS,
                "message.max.bytes": kafka.max_record_bytes,
                "transaction.timeout.ms": kafka.transaction_timeout_ms,
                "message.timeout.ms": kafka.transaction_timeout_ms,
            },
        )
        self._producer.init_transactions(CONNECT_TIMEOUT_S)
        self._admin = self._clients.admin(kafka)
        try:
            found = self._read(stable=True)
        except KafkaException as error:
            if not is_timeout(error):
                raise
            found = self._end_abandoned()
        if self._holds:
            self._check_owner(found)
        return found

    def _end_abandoned(self) -> Progress | None:
        """Abort what the broker holds open of earlier transactions, and publish the last one again if it was acknowledged and is lost with that."""
        before = self._read(stable=False)  # answers, unless the broker does not
        self._log.warning("abandoned_transaction", progress=before and before.identity)
        topics = dict.fromkeys((self._place[0], self._kafka.stream_topic, self._kafka.raw_topic, *self._also))
        abort_abandoned(self._producer, topics, self._group, self._offset_of(before or self.progress), self._timeout_s)
        found = self._read(stable=True)
        records, groups, earlier = self._last
        if self._holds and found is not None and earlier is not None and found.identity == earlier.identity != self.progress.identity:
            self._log.warning("acknowledged_transaction_published_again", identity=self.progress.identity)
            self._commit(records, groups, self.progress)
            return self.progress
        return found

    def _read(self, *, stable: bool) -> Progress | None:
        """The committed progress. `stable` waits for a transaction that is being completed; otherwise the progress before it is returned."""
        reader = self._clients.consumer(self._kafka, {"group.id": self._id, "isolation.level": _LEVEL[stable]})
        try:
            found = _committed(reader, self._place)
            self._group = reader.consumer_group_metadata()
        finally:
            reader.close()
        return _progress_from(found, self._id)

    def _check_owner(self, found: Progress | None) -> None:
        # The owner before ours: our claim was lost with its markers, and no other process has claimed the id since.
        if found is not None and found.owner != self._owner and (found.owner, found.claim) != self._replaced:
            self.close()
            text = f"another producer with the transactional id {self._id!r} took over"
            raise Fenced(text, transactional_id=self._id)

    def _commit(self, records: Sequence[Record], groups: Sequence[Sequence[int]], progress: Progress) -> dict[int, str]:
        """Run one transaction. Returns the rejected records by index: empty if it was committed. Otherwise the producer is unusable."""
        bad: dict[int, str] = {}

        def delivered(index: int, error: Any) -> None:
            if error is not None and error.code() in _REFUSED:
                bad[index] = str(error.str())

        try:
            self._producer.begin_transaction()
            for group in groups:
                for index in group:
                    self._produce(records[index], index, delivered)
                if len(groups) > 1:
                    self._producer.flush(self._timeout_s)
                if bad:
                    return bad
            self._finish(progress, bad, carries=bool(records))
        except KafkaException:
            # Delivery reports with the reason may still be pending.
            while not bad and self._producer.poll(_REPORT_S):
                pass
            if not bad:
                raise
        return bad

    def _finish(self, progress: Progress, bad: Mapping[int, str], *, carries: bool) -> None:
        """Commit. The progress contains the id of the topic that the records are in: the topic may have been re-created, and after a lost answer the
        id decides whether the records are still there.

        The id is read after the records were acknowledged: a topic that is re-created later has lost them.
        """
        self._send_progress(progress)
        unsent = self._producer.flush(self._timeout_s) if carries else 0
        if unsent and not bad:
            raise TimeoutError(f"{unsent} records were not acknowledged within {self._timeout_s:g} s")
        if carries and not bad:
            self._topic_id = _topic_id_of(self._admin, self._place[0])
            if self._topic_id != progress.topic_id:
                self._send_progress(replace(progress, topic_id=self._topic_id))
        self._producer.commit_transaction(self._timeout_s)

    def _produce(self, record: Record, index: int, delivered: Callable[[int, Any], None]) -> None:
        def report(error: Any, _: Any) -> None:
            delivered(index, error)

        try:
            self._producer.produce(record.topic, value=record.value, key=record.key, headers=list(record.headers), on_delivery=report)
        except KafkaException as error:
            # Larger than librdkafka's own limit: the record is not sent.
            delivered(index, error.args[0])
            raise

    def _send_progress(self, progress: Progress) -> None:
        self._producer.send_offsets_to_transaction([self._offset_of(progress)], self._group, self._timeout_s)

    def _offset_of(self, progress: Progress) -> TopicPartition:
        # Earlier versions do not know `leaps`, but can read progress without leaps.
        fields = {name: value for name, value in asdict(progress).items() if name != "leaps" or value}
        return TopicPartition(*self._place, max(progress.position or 0, 0), orjson.dumps(fields).decode())

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        address = self._kafka.bootstrap_servers
        cause = error.args[0] if isinstance(error, KafkaException) else None
        text = str(error) or type(error).__name__ if cause is None else cause.str()
        if cause is not None and cause.code() in _FENCED:
            limit = f"{self._timeout_s:g} s (kafka.transaction_timeout_ms)"
            text = f"the broker aborted the transaction: it was open for more than {limit}, or another producer took over"
        return EngineUnavailable(f"Kafka at {address} (kafka.bootstrap_servers): {text}", engine="kafka", address=address)


def progress_of(kafka: KafkaSettings, transactional_id: str, topic: str, clients: KafkaClients | None = None) -> Progress | None:
    """Progress that a producer has committed to the current topic, for other processes. A transaction that is being completed does not count yet.

    Raises:
        EngineUnavailable: Kafka does not answer, or has no such topic.
    """
    made = clients or KafkaClients()
    reader = made.consumer(kafka, {"group.id": transactional_id, "isolation.level": _LEVEL[False]})
    try:
        found = _progress_from(_committed(reader, (topic, 0)), transactional_id)
        return found if found is not None and found.topic_id == _topic_id_of(made.admin(kafka), topic) else None
    except (KafkaException, TimeoutError) as error:
        address = kafka.bootstrap_servers
        text = f"Kafka at {address} (kafka.bootstrap_servers) does not return the progress of {transactional_id}: {error}"
        raise EngineUnavailable(text, engine="kafka", address=address) from None
    finally:
        reader.close()


def _committed(reader: Any, place: tuple[str, int]) -> Any:
    (found,) = reader.committed([TopicPartition(*place)], timeout=CONNECT_TIMEOUT_S)
    if found.error is not None:
        raise KafkaException(found.error)
    return found


def _progress_from(found: Any, group: str) -> Progress | None:
    try:
        return Progress(**orjson.loads(found.metadata or "")) if found.offset >= 0 else None
    except (ValueError, TypeError):
        _log.warning("progress_unreadable", group=group, metadata=str(found.metadata)[:200])
        return None


def _topic_id_of(admin: Any, topic: str) -> str:
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=CONNECT_TIMEOUT_S)
    return str(described[topic].result(CONNECT_TIMEOUT_S).topic_id)


def _narrowed(records: Sequence[Record], groups: Sequence[Sequence[int]], bad: Mapping[int, str], refused: dict[int, str]) -> list[list[int]]:
    """Groups of records for the next try, flushed one after the other. A broker rejects whole record batches: a record rejected alone is invalid, and
    so, if it is too large, are all larger ones of its topic. Of several, the next try narrows down the invalid ones by sending them separately.
    """
    if len(bad) == 1:
        ((index, reason),) = bad.items()
        topic = records[index].topic
        limit = _size(records[index]) + _LENGTHS
        larger = {i for i, one in enumerate(records) if one.topic == topic and _size(one) >= limit} if "large" in reason.lower() else set()
        refused.update(dict.fromkeys(larger | {index}, reason))
        return [list(group) for group in groups]
    if len(bad) > _APART:
        middle = sorted(bad)[len(bad) // 2]
        halves = [part for group in groups for part in ([i for i in group if i < middle], [i for i in group if i >= middle])]
        return [part for part in halves if part]
    return [list(run) for group in groups for _, run in itertools.groupby(group, lambda i: i if i in bad else -1)]


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(value) for name, value in record.headers)
