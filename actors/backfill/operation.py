"""The backfill: wanted ticks, less what is there, provider by provider and window by window, each window one transaction in Kafka.

Progress lies in Kafka and the lake, nowhere else: a backfill that was killed, or is run twice, looks what is there and brings the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from actors.backfill.history_client import Asked, HistoryAsker
from actors.backfill.rows import Answer, record_of
from actors.backfill.series import prices, windows
from actors.backfill.wanted import Missing, first_live_ticks, settled_before, ticks_wanted
from actors.producer_ids import BACKFILL
from actors.publishing.kafka_transport import KafkaTransport, PublishedBatches
from actors.publishing.transaction import Batch, Message, Refused
from cryptoviz.assets import Asset, provider_id_at, resolve_assets
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.errors import EngineUnavailable, NoHistory, ProviderFailure, SettingsError
from cryptoviz.kafka import KafkaClients
from cryptoviz.lake.gap_ledger import read_gaps
from cryptoviz.log import get_logger
from cryptoviz.operations import BackfillArguments, OperationResult, Progress, Report
from cryptoviz.providers.history import Point, Step, Window
from cryptoviz.providers.registry import HISTORY_PROVIDERS, history_of
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings

__all__ = ["Backfill", "ids_by_time"]

_MOST_TICKS = 2_000_000
"""What one backfill takes in hand: sets of that size take some 200 MB. Years of minutes for one coin, a month of minutes for all."""
_KAFKA_PATIENCE_S = 120.0
_NONE_YET = "nothing to fill: the ledger has no open gap there (it follows what happens by a minute or so)"

_log = get_logger("backfill")


class Backfill:
    """A `cryptoviz.operations.Operation`."""

    def __init__(
        self, settings: Settings, operation_id: str, arguments: BackfillArguments, clock: Clock | None = None, clients: KafkaClients | None = None
    ) -> None:
        self._settings = settings
        self._operation_id = operation_id
        self._arguments = arguments
        self._clock = clock or SystemClock()
        self._clients = clients
        self._transport = KafkaTransport(settings.kafka, settings.kafka.stream_topic, BACKFILL, PublishedBatches(), clients)
        self._max_age_ms = round(settings.collect.stale_after_s * 1000)
        self._missing = Missing(settings, {})
        self._notes: dict[str, None] = {}
        self._reasons: dict[str, FallbackReason] = {}
        self._total = self._rows = self._windows = 0
        self._unsettled = ""
        self._report: Report = lambda _: None

    async def run(self, report: Report) -> OperationResult:
        """Bring the wanted ticks.

        Raises:
            EngineUnavailable: Kafka or the object store does not answer.
            NoHistory: there was something to bring, and no provider gave any of it; the message says why.
            SettingsError: more ticks than one backfill takes, or a provider of the settings that keeps no history.
        """
        self._report = report
        report(Progress(done=0, unit="ticks", message="looking what is missing"))
        assets = resolve_assets(self._arguments.assets or [asset.asset_id for asset in self._settings.assets], self._settings.extra_assets)
        askers = self._askers()
        # Fenced first: what an earlier backfill had begun is in Kafka or is not, before we look.
        async for attempt in self._patiently():
            with attempt:
                await asyncio.to_thread(self._transport.connect)
        try:
            self._missing = Missing(self._settings, await asyncio.to_thread(self._wanted, assets))
            await asyncio.to_thread(self._missing.load)
            self._total = self._missing.count
            for number, asker in enumerate(askers):
                for asset in assets:
                    await self._fill(asker, asset, preferred=number == 0)
            return self._result(sum(asker.calls for asker in askers))
        finally:
            self._transport.close()
            for asker in askers:
                await asker.aclose()

    def _askers(self) -> list[HistoryAsker]:
        chosen = self._arguments.provider
        names = (chosen,) if chosen is not None else self._settings.collect.history_providers
        unknown = [name for name in names if history_of(name) is None]
        if unknown:
            where = "--provider" if chosen is not None else "CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS"
            hint = f"{', '.join(unknown)} keeps no history that a backfill can read; there are: {', '.join(HISTORY_PROVIDERS)} ({where})"
            raise SettingsError(hint, setting=where)
        return [HistoryAsker(name, self._settings, self._clock) for name in names]

    def _wanted(self, assets: Sequence[Asset]) -> dict[str, set[int]]:
        tick_ms, given, now_ms = self._settings.collect.tick_ms, self._arguments, self._clock.now_ms()
        settled_ms = settled_before(self._settings, now_ms, self._clients)  # before anything is looked at
        end_ms = now_ms if given.end_ms is None else min(given.end_ms, now_ms)
        gaps = read_gaps(self._settings)
        first_live = first_live_ticks(self._settings) if given.start_ms is not None else {}
        wanted: dict[str, set[int]] = {}
        unsettled: list[int] = []
        for asset in assets:
            runs = list(ticks_wanted(given, asset.asset_id, gaps, first_live.get(asset.asset_id), tick_ms, end_ms))
            if sum(map(len, runs)) + sum(map(len, wanted.values())) > _MOST_TICKS:
                raise SettingsError(
                    f"more than {_MOST_TICKS:,} ticks: name fewer assets or a shorter time (--assets, --from, --to)", setting="--from"
                )
            ticks = {tick for run in runs for tick in run}
            wanted[asset.asset_id] = {tick for tick in ticks if tick < settled_ms}
            unsettled += sorted(ticks - wanted[asset.asset_id])
        if unsettled:
            self._unsettled = f"{len(unsettled):,} ticks from {_text(min(unsettled))} on are left: the collector may still publish them"
            self._notes[self._unsettled] = None
        return wanted

    async def _fill(self, asker: HistoryAsker, asset: Asset, *, preferred: bool) -> None:
        """All windows of an asset; what cannot be had becomes a note, and the next provider's turn."""
        ticks = sorted(self._missing.left.get(asset.asset_id, ()))
        for provider_id, own in ids_by_time(asker.name, asset, ticks):
            if provider_id is None:
                self._reasons[asset.asset_id] = FallbackReason.MISSING_ASSET
                self._notes[f"{asset.asset_id}: {asker.name} does not list it"] = None
                continue
            try:
                await self._fill_run(asker, asset, provider_id, own, preferred=preferred)
            except ProviderFailure as error:
                self._reasons[asset.asset_id] = error.reason
                self._notes[f"{asset.asset_id}: {error.message}"] = None
                _log.warning("history_not_given", provider=asker.name, asset=asset.asset_id, reason=error.message)

    async def _fill_run(self, asker: HistoryAsker, asset: Asset, provider_id: str, ticks: Sequence[int], *, preferred: bool) -> None:
        currency = await asker.currency(provider_id, self._tell)
        steps = asker.source.steps(ticks, self._clock.now_ms(), self._max_age_ms)
        for step in steps:
            for window in windows(step.ticks, step.span_ms, step.lookback_ms):
                await self._fill_window(asker, asset, provider_id, currency, window, step, preferred=preferred)
        too_old = len(ticks) - sum(len(step.ticks) for step in steps)
        if too_old:
            message = f"{asker.name} does not reach back to {_text(ticks[0])}, for {too_old:,} ticks"
            raise NoHistory(message, provider=asker.name, reason=FallbackReason.MISSING_ASSET)

    async def _fill_window(
        self, asker: HistoryAsker, asset: Asset, provider_id: str, currency: str, window: Window, step: Step, *, preferred: bool
    ) -> None:
        self._tell(f"asking {asker.name} for {asset.asset_id} from {_text(window.ticks[0])}")
        found = 0

        async def ask(span: Window) -> Asked:
            return await asker.ask(provider_id, span, step, self._tell)

        async for asked, priced in prices(ask, window, step.span_ms, step.length_ms, self._max_age_ms):
            found += len(priced)
            if priced:
                reason = None if preferred else self._reasons.get(asset.asset_id, FallbackReason.MISSING_ASSET)
                answer = Answer(asker.name, provider_id, currency, asked.received_ms, asked.exchange.fetch_id, reason)
                await self._publish(asset, priced, answer, asked)
        if found < len(window.ticks):
            self._reasons.setdefault(asset.asset_id, FallbackReason.MISSING_ASSET)
        self._tell("")

    async def _publish(self, asset: Asset, priced: dict[int, Point], answer: Answer, asked: Asked) -> None:
        """One transaction. After an unknown outcome the transport says whether it was committed."""
        left = self._missing.left[asset.asset_id]
        note = Message(answer.provider.encode(), asked.exchange.to_json())
        batch: Batch | None = None
        refused: Sequence[Refused] = ()
        async for attempt in self._patiently():
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    await asyncio.to_thread(self._transport.connect)
                    if batch is not None and self._transport.is_published(batch):
                        refused = self._transport.was_refused(batch)
                        break
                # While the provider answered others may have published some of the ticks, as a replay of dead letters does.
                await asyncio.to_thread(self._missing.refresh)
                records = [record_of(asset, tick, priced[tick], answer) for tick in sorted(priced.keys() & left)]
                if not records:
                    return
                messages = tuple(Message(record.asset_id.encode(), record.to_json()) for record in records)
                batch = Batch(f"{self._operation_id}-{answer.fetch_id}", records[-1].tick_ts, messages, (note,))
                refused = await asyncio.to_thread(self._transport.publish, batch)
        left.difference_update(priced)
        if batch is None:
            return
        lost = sum(one.message in batch.messages for one in refused)
        if refused:
            self._notes[f"{asset.asset_id}: Kafka refused {lost:,} rows and {len(refused) - lost} exchanges ({refused[0].reason})"] = None
        self._rows += len(batch.messages) - lost
        self._windows += 1

    def _patiently(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.2),
            stop=stop_after_delay(_KAFKA_PATIENCE_S),
            sleep=self._clock.sleep,
            reraise=True,
        )

    def _tell(self, message: str) -> None:
        self._report(Progress(done=self._rows, total=self._total, unit="ticks", message=message))

    def _result(self, calls: int) -> OperationResult:
        left = {asset_id: len(ticks) for asset_id, ticks in self._missing.left.items() if ticks}
        notes = tuple(f"{asset_id}: {count:,} ticks without a price at any provider asked" for asset_id, count in left.items())
        if self._total == 0:
            return OperationResult(message=self._unsettled or _NONE_YET, figures={"ticks_wanted": 0, "rows": 0}, notes=tuple(self._notes))
        if self._rows == 0 and left:
            raise NoHistory(f"none of {self._total:,} ticks could be filled: {'; '.join(self._notes) or 'no provider had a price'}"[:1000])
        figures = {"ticks_wanted": self._total, "rows": self._rows, "ticks_left": sum(left.values()), "calls": calls, "transactions": self._windows}
        return OperationResult(message=f"{self._rows:,} of {self._total:,} ticks filled", figures=figures, notes=(*self._notes, *notes))


def ids_by_time(provider: str, asset: Asset, ticks: Sequence[int]) -> list[tuple[str | None, list[int]]]:
    """Ticks in order, cut where the provider's id of the asset changes; None where it has none."""
    runs: list[tuple[str | None, list[int]]] = []
    for tick in ticks:
        provider_id = provider_id_at(asset, provider, datetime.fromtimestamp(tick / 1000, UTC))
        if not runs or runs[-1][0] != provider_id:
            runs.append((provider_id, []))
        runs[-1][1].append(tick)
    return runs


def _text(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
