"""Evaluates the alert rules: one thread, on the records and states that the pages show, whether a page is open or not.

Of several dashboards of a pipeline, the one that started last evaluates. Records wait in memory until their evaluation is stored, so that a Redis
that is away for a while loses none.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cryptoviz.alerts.evaluate import Evaluation, Evaluator, Firing, RuleState
from cryptoviz.alerts.store import Loaded, Outdated
from cryptoviz.client import PipelineStatus
from cryptoviz.clock import Clock
from cryptoviz.errors import TransientError
from cryptoviz.log import get_logger
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings
from dashboard.alert_state import AlertState, AlertView
from dashboard.shared_state import ControlState, LiveState

__all__ = ["AlertFeed", "AlertStorage"]

_LOOK_S = 5.0
"""Interval at which the claim is renewed and edits by commands are noticed."""
_TIME_S = 1.0
"""Resolution of ages and cool-downs."""
_RETRY_S = 2.0
_MAX_WAITING = 20_000
"""Records that wait for Redis, 25 MB: 1 176 ticks of the default coins. Past it the oldest are dropped."""
_BATCH = 2_000
_MAX_STATUSES = 100
_ATTEMPTS = 5
_NEAR_TICKS = 2
"""A change is computed from a tick at most so many ticks before the window's begin."""

log = get_logger("alerts")


class AlertStorage(Protocol):
    """The used part of `cryptoviz.alerts.store.AlertStore`. All methods raise EngineUnavailable."""

    def load(self) -> Loaded: ...
    def revision(self) -> int: ...
    def claim(self, token: str, *, take_over: bool) -> bool: ...
    def release(self, token: str) -> None: ...
    def commit(self, token: str, revision: int, result: Evaluation, channels: tuple[str, ...]) -> list[Firing]: ...
    def history(self) -> list[Firing]: ...


class AlertFeed:
    """Owns the thread. To be created before the other feeds start; `start` and `stop` may be called once each."""

    def __init__(
        self,
        settings: Settings,
        store: AlertStorage,
        live: LiveState,
        control: ControlState,
        state: AlertState,
        clock: Clock,
        channels: tuple[str, ...] = (),
    ) -> None:
        self._settings, self._store, self._live, self._control, self._state, self._clock = settings, store, live, control, state, clock
        self._channels = channels
        self._when_queued: list[Callable[[], None]] = []
        self._token = secrets.token_hex(8)
        self._assets = [asset.asset_id for asset in settings.assets]
        self._waiting: deque[UnifiedRecord] = deque(maxlen=_MAX_WAITING)
        self._batch: list[UnifiedRecord] = []
        self._statuses: deque[PipelineStatus] = deque(maxlen=_MAX_STATUSES)
        self._pipeline: PipelineStatus | None = None
        self._evaluator: Evaluator | None = None
        self._revision = -1
        self._holds = False
        self._claimed_once = False
        self._look_at_s = 0.0
        self._since_ms = clock.now_ms()
        self._history: list[Firing] = []
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        live.listen(self.take_records)
        control.listen(self.take_status)

    def is_evaluator(self) -> bool:
        """Whether this process is the pipeline's evaluator."""
        return self._holds

    def when_queued(self, call: Callable[[], None]) -> None:
        """Call back after firings have been stored and queued. To be added before `start`; must not block."""
        self._when_queued.append(call)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def edited(self) -> None:
        """Read the rules at once, after an edit by this process."""
        self._look_at_s = 0.0
        self._wake.set()

    def take_records(self, records: list[UnifiedRecord]) -> None:
        """Queue ticks for evaluation; no-op if there are no rules. Called by the ingest thread."""
        evaluator = self._evaluator
        if evaluator is None or evaluator.rules:
            self._waiting.extend(records)
            self._wake.set()

    def take_status(self, status: PipelineStatus) -> None:
        """Queue a status for evaluation. Called by the watch thread."""
        self._statuses.append(status)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self.step()
            self._wake.wait(pause_s)
            self._wake.clear()
        try:
            if self._holds:
                self._store.release(self._token)
        except TransientError:
            pass  # it expires

    def step(self) -> float:
        """Evaluate what waits; returns the seconds until the next step without news."""
        try:
            if self._clock.monotonic_s() >= self._look_at_s:
                self._look()
            if self._holds:
                self._evaluate()
        except TransientError as error:
            if self._state.view().problem != str(error):
                log.warning("alerts_not_stored", reason=str(error), waiting_records=len(self._waiting))
            self._publish(str(error))
            return _RETRY_S
        except Exception as error:  # the thread must not end unseen: the page says why nothing is evaluated, and each step tries again
            if self._state.view().problem is None:
                log.exception("alerts_not_evaluated")
            self._publish(f"{type(error).__name__}: {error}")
            return _RETRY_S
        self._publish(None)
        return _TIME_S if self._evaluator is not None and self._evaluator.watches_time else _LOOK_S

    def _look(self) -> None:
        """Claim or renew, and read the rules if they were edited."""
        held = self._holds
        self._holds = self._store.claim(self._token, take_over=not self._claimed_once)
        self._claimed_once = True
        self._look_at_s = self._clock.monotonic_s() + _LOOK_S
        if held and not self._holds:
            log.info("alerts_evaluated_elsewhere")
        if not self._holds:
            self._waiting.clear()
            self._batch = []
        if self._holds != held or not self._holds or self._store.revision() != self._revision:
            self._load()

    def _load(self) -> None:
        loaded = self._store.load()
        newest = self._evaluator.newest if self._evaluator is not None else {}
        values = self._evaluator.values if self._evaluator is not None else {}
        self._evaluator = Evaluator(
            loaded.rules,
            loaded.states,
            loaded.seen,
            tick_ms=self._settings.collect.tick_ms,
            dollars_equal=self._settings.collect.usdt_is_usd,
            reference=self._reference,
            newest=newest,
        )
        self._evaluator.values = {rule_id: value for rule_id, value in values.items() if rule_id in self._evaluator.rules}
        self._revision = loaded.revision
        self._history = self._store.history()

    def _reference(self, asset_id: str, quote_currency: str, at_ms: int) -> float | None:
        return self._live.price_at(asset_id, quote_currency, at_ms, at_ms - _NEAR_TICKS * self._settings.collect.tick_ms)

    def _evaluate(self) -> None:
        now_ms = self._clock.now_ms()
        while self._batch or self._waiting:
            # Kept until its evaluation is stored.
            self._batch = self._batch or [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if not self._apply(lambda evaluator: evaluator.of_records(self._batch, now_ms)):
                return
            self._batch = []
        while self._statuses:
            self._pipeline = self._statuses[0]
            if not self._apply_components(now_ms):
                return
            self._statuses.popleft()
        if self._evaluator is not None and self._evaluator.watches_time:
            newest = {asset_id: record.tick_ts for asset_id, record in self._live.latest().items()}
            self._apply(lambda evaluator: evaluator.of_ages(newest, self._assets, self._since_ms, now_ms))
            if self._control.read()[1] is None:
                self._apply_components(now_ms)

    def _apply_components(self, now_ms: int) -> bool:
        components = () if self._pipeline is None else self._pipeline.components
        return self._apply(lambda evaluator: evaluator.of_components(components, now_ms))

    def _apply(self, evaluate: Callable[[Evaluator], Evaluation]) -> bool:
        """Evaluate and store; False if another process has become the evaluator."""
        for _ in range(_ATTEMPTS):
            if self._evaluator is None or not self._holds:
                return False
            result = evaluate(self._evaluator)
            if not result.must_be_stored:
                self._evaluator.accept(result)
                return True
            try:
                stored = self._store.commit(self._token, self._revision, result, self._channels)
            except Outdated:
                self._look()
                continue
            self._evaluator.accept(result)
            self._fired(stored)
            return True
        return False

    def _fired(self, firings: list[Firing]) -> None:
        if not firings:
            return
        for firing in firings:
            log.info("alert_fired", alert=firing.rule.rule_id, kind=str(firing.rule.kind), subject=firing.subject, value=firing.value)
        self._state.notify(firing for firing in firings if not firing.rule.muted)
        for call in self._when_queued:
            call()
        self._history = self._store.history()  # last, because Redis may be away again

    def _publish(self, problem: str | None) -> None:
        evaluator = self._evaluator
        states: dict[str, RuleState] = dict(evaluator.states) if evaluator is not None else {}
        rules = tuple(evaluator.rules.values()) if evaluator is not None else ()
        values = dict(evaluator.values) if evaluator is not None else {}
        self._state.set_view(AlertView(rules, states, values, tuple(self._history), problem, self._holds))
