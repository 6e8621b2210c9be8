"""Lease: allows one lake job and one maintenance round for each lake. An object in the store that its holder renews.

The lease keeps two jobs from competing and names the running job. Correctness does not depend on it, but on the app transactions of the Delta logs
(`spark_jobs.tables.table_log`).

Expiry is the age of the object by the store's clock. If that age is implausible (the clock was set), the object must also stay unchanged while
watched, so that a running holder never looks dead. A holder that could not renew in time, as after a pause, checks its lease before it continues.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptoviz.errors import CryptoVizError, EngineUnavailable, LakeError, TransientError
from cryptoviz.lake.conditional_object import ConditionalObject, ObjectChanged, ObjectVersion, S3ConditionalObject
from cryptoviz.lake.objects import S3Access
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from spark_jobs.tables.engine_retry import EngineProblem

__all__ = ["LEASES", "Holder", "Lease", "LeaseHeld", "lease_object", "lease_of", "process_is_dead"]

LEASES = "_leases/"
"""Folder of the lake bucket."""

log = get_logger("lake")

_TRIES = 5
_SLOW_S = 2.0  # a renewal takes 5 ms
_CLOCK_STEP_S = 1.0  # the store's time has whole seconds
_RENEWALS = 3  # for each lease duration
_WATCH_S = 0.5
_IMPLAUSIBLE_AGE = 20  # lease durations; beyond that a changed clock is likelier than a holder that has just ended


class LeaseHeld(TransientError):
    """Another job of this lake holds the lease; `holder` describes it. Retry after that job has ended or its lease has expired."""

    holder: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Holder of a lease. `since` and `until`: UTC, ISO 8601, by the holder's clock, for display only.

    `boot`, `namespaces`, `pid` and `start_ticks` identify its process (`ProcessIdentity`). Objects of earlier versions have no `start_ticks`: a start
    time by the wall clock identifies no process.
    """

    kind: str
    pipeline: str
    run: str
    host: str
    boot: str
    pid: int
    home: str
    since: str
    until: str
    lasts_s: float
    released: bool = False
    namespaces: str = ""
    start_ticks: int | None = None

    @property
    def process(self) -> ProcessIdentity | None:
        """The holder's process; None if the object does not identify it."""
        return None if self.start_ticks is None else ProcessIdentity(self.boot, self.namespaces, self.pid, self.start_ticks)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Holder:
        """Parse the output of `to_json`, of any version; unknown fields are ignored.

        Raises:
            LakeError: the content is invalid.
        """
        try:
            known = {field.name for field in fields(cls)}
            return cls(**{name: value for name, value in dict(json.loads(content)).items() if name in known})
        except (ValueError, TypeError) as error:
            raise LakeError(f"invalid lease of the lake ({error}): {content[:200]!r}; delete the object if no job runs") from None

    def __str__(self) -> str:
        return f"run {self.run} of the pipeline in {self.home} on {self.host}, process {self.pid}, since {self.since}, until {self.until}"


def process_is_dead(holder: Holder) -> bool:
    """Whether the holder's process ran on this machine and has ended. False if unknown."""
    if holder.host != socket.gethostname():
        return False
    if holder.process is not None:
        return holder.process.has_ended
    return holder.boot == ProcessIdentity.own().boot and not _exists(holder.pid)


def _exists(pid: int) -> bool:
    try:
        ProcessIdentity.of(pid)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class Lease:
    """Renewed by a thread from `acquire` to `release`. `problem` and `lost` may be read from other threads."""

    def __init__(
        self,
        object_: ConditionalObject,
        me: Holder,
        is_dead: Callable[[Holder], bool] = process_is_dead,
        now: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """No request before `acquire`."""
        self._monotonic = monotonic
        self._renewed_s = 0.0
        self._renewing = threading.Lock()
        self.problem: EngineProblem | None = None
        """The store did not answer the last renewal, or was slow; None otherwise."""
        self.lost = ""
        """Error message with the job that took the lease; empty while this run holds it."""
        self._object = object_
        self._me = me
        self._is_dead = is_dead
        self._now = now or (lambda: datetime.now(UTC))
        self._etag: str | None = None
        self._done = threading.Event()
        self._wait = wait or self._done.wait
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Acquire the lease and start the renewals.

        Raises:
            LeaseHeld: another job holds it.
            EngineUnavailable: the store does not answer.
        """
        self._me = replace(self._me, since=_text(self._now()))
        for _ in range(_TRIES):
            seen = self._object.read()
            if seen is not None and not self._is_free(seen):
                self._check_expired(seen)
            try:
                self._write(seen.etag if seen else None)
            except ObjectChanged:
                continue
            self._thread = threading.Thread(target=self._renew_loop, name=f"lease-{self._me.kind}", daemon=True)
            self._thread.start()
            return
        raise LeaseHeld(f"the lease for {self._me.kind} changed {_TRIES} times during the attempt to acquire it")

    def check(self) -> None:
        """Raise LakeError if another job has taken the lease. Renews first if the last renewal is older than the lease duration; if the store does
        not answer, the holder may continue, since correctness does not depend on the lease.
        """
        if not self.lost and self._thread is not None and self._monotonic() - self._renewed_s > self._me.lasts_s:
            self.renew()
        if self.lost:
            raise LakeError(self.lost)

    def release(self) -> None:
        """Release the lease, so that the next holder need not wait. If the store does not answer, the lease expires."""
        self._done.set()
        if self._thread is None:
            return
        self._thread.join(10)
        self._thread = None
        if self.lost:
            return
        self._me = replace(self._me, released=True)
        with contextlib.suppress(EngineUnavailable, ObjectChanged):
            self._write(self._etag)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def renew(self) -> None:
        """Renew once; sets `problem` and `lost`."""
        with self._renewing:
            self._renew()

    def _renew(self) -> None:
        begun = time.monotonic()
        try:
            self._write(self._etag)
        except ObjectChanged:
            self._read_holder()
            return
        except CryptoVizError as error:
            self._note(begun, str(error))
            return
        took_s = time.monotonic() - begun
        self._note(begun, f"the object store is slow: a write of {len(self._me.to_json())} bytes took {took_s:.1f} s" if took_s > _SLOW_S else "")

    def _renew_loop(self) -> None:
        while not self._done.wait(self._me.lasts_s / _RENEWALS) and not self.lost:
            self.renew()

    def _write(self, over: str | None) -> None:
        self._me = replace(self._me, until=_text(self._now() + timedelta(seconds=self._me.lasts_s)))
        begun_s = self._monotonic()
        self._etag = self._object.write(self._me.to_json(), over)
        self._renewed_s = begun_s

    def _read_holder(self) -> None:
        """Read the holder after a refused renewal, because an earlier renewal of this run may have succeeded without a response."""
        try:
            seen = self._object.read()
            if seen is None:  # the object was deleted
                self._write(None)
                return
            holder = Holder.from_json(seen.content)
        except ObjectChanged:
            return
        except CryptoVizError as error:
            self._note(time.monotonic(), str(error))
            return
        if holder.run == self._me.run:
            self._etag = seen.etag
            return
        self.lost = f"another {self._me.kind} job has taken over this lake ({holder}); run {self._me.run} stops"
        log.warning("lease_lost", kind=self._me.kind, to=str(holder))

    def _is_free(self, seen: ObjectVersion) -> bool:
        """Whether the lease was released, or belongs to an ended run of this pipeline on this machine."""
        holder = Holder.from_json(seen.content)
        if holder.released:
            return True
        same_process = holder.process is not None and (holder.host, holder.process) == (self._me.host, self._me.process)
        if holder.pipeline == self._me.pipeline and (same_process or self._is_dead(holder)):
            log.info("lease_taken_over", kind=holder.kind, run=holder.run)
            return True
        return False

    def _check_expired(self, seen: ObjectVersion) -> None:
        """Return if the lease has expired, else raise LeaseHeld. If its age is implausible, wait for a renewal first.

        The age is by the store's clock, which may have been set: forward, so that the lease of a running holder looks old, or back, so that the lease
        of an ended holder looks as if written in the future. By the local monotonic clock a running holder renews within a third of the lease
        duration.
        """
        holder = Holder.from_json(seen.content)
        if 0 <= seen.age_s <= holder.lasts_s + _CLOCK_STEP_S:
            self._refuse(holder, seen)
        if 0 <= seen.age_s <= _IMPLAUSIBLE_AGE * holder.lasts_s:
            return
        until_s = self._monotonic() + (holder.lasts_s if seen.age_s < 0 else holder.lasts_s / _RENEWALS) + _CLOCK_STEP_S
        while self._monotonic() < until_s:
            self._wait(_WATCH_S)
            now = self._object.read()
            if now is None or now.etag != seen.etag:
                log.warning("lease_holder_runs_although_clock_was_set", kind=holder.kind, run=holder.run, age_s=round(seen.age_s))
                self._refuse(holder, now or seen)

    def _refuse(self, holder: Holder, seen: ObjectVersion) -> None:
        age_s = max(0.0, seen.age_s)
        raise LeaseHeld(
            f"another {holder.kind} job holds the lease of this lake: {holder}. It renewed the lease {age_s:.0f} s ago; without another renewal the "
            f"lease expires in {max(0.0, holder.lasts_s + _CLOCK_STEP_S - age_s):.0f} s. Only one job may write to a lake: stop the other job, or "
            "give this pipeline a separate lake (CRYPTOVIZ_S3__PRICES_BUCKET and CRYPTOVIZ_S3__LAKE_BUCKET)",
            holder=str(holder),
        )

    def _note(self, begun_s: float, message: str) -> None:
        if not message:
            self.problem = None
        else:
            self.problem = EngineProblem(self.problem.since_s if self.problem else begun_s, message)


def lease_object(settings: Settings, kind: str) -> S3ConditionalObject:
    """The object of the lease for a `kind` of work ("lake", "maintenance") on the lake of these settings."""
    return S3ConditionalObject(S3Access.of(settings.s3), settings.s3.lake_bucket, f"{LEASES}{kind}.json")


def lease_of(settings: Settings, kind: str, pipeline: str, run: str) -> Lease:
    """Lease of this process; see `lease_object`."""
    process = ProcessIdentity.own()
    me = Holder(
        kind, pipeline, run, socket.gethostname(), process.boot, process.pid, str(settings.home), "", "", settings.lake.lease_s,
        namespaces=process.namespaces, start_ticks=process.start_ticks,
    )  # fmt: skip
    return Lease(lease_object(settings, kind), me)


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
