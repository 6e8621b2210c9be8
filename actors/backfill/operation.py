"""Backfill operation: fetches missing ticks provider by provider and window by window, and publishes each window in one Kafka transaction.

The only state is the rows in Kafka and the lake: a backfill that is killed or run twice reads them and fetches only ticks that are still missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from actors.backfill.history_client import HistoryClient, HistoryResponse
from actors.backfill.rows import PriceSource, record_of
from actors.backfill.series import prices, windows
from actors.backfill.wanted import UnfilledTicks, first_live_ticks, settled_before, ticks_wanted
from actors.publishing.kafka_transport import BACKFILL, KafkaTransport, PublishedTransactions
from actors.publishing.transaction import KafkaTransaction, Message, Refused
from cryptoviz.assets import Asset, provider_id_at
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.errors import EngineUnavailable, NoHistory, ProviderFailure, SettingsError
from cryptoviz.kafka import KafkaClients, producer_id
from cryptoviz.lake.gap_ledger import read_gaps
from cryptoviz.log import get_logger
from cryptoviz.operations import BackfillArguments, OperationResult, Progress, Report
from cryptoviz.providers.history import Point, Step, Window
from cryptoviz.providers.registry import history_of, with_history
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings
from cryptoviz.times import second_text, utc

__all__ = ["Backfill", "ids_by_time"]

_MAX_TICKS = 2_000_000
"""Maximum number of ticks of one backfill, whose sets take about 200 MB: years of minutes for one coin, or a month of minutes for all."""
_KAFKA_TIMEOUT_S = 120.0
_NOTHING_TO_FILL = "nothing to fill: the gap ledger has no open gap there (it is updated with about a minute of delay)"

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
        topic = settings.kafka.stream_topic
        self._transport = KafkaTransport(settings.kafka, topic, producer_id(BACKFILL, topic), PublishedTransactions(), clients)
        self._max_age_ms = round(settings.collect.stale_after_s * 1000)
        self._unfilled = UnfilledTicks(settings, {})
        self._notes: dict[str, None] = {}
        self._reasons: dict[str, FallbackReason] = {}
        self._total = self._rows = self._windows = 0
        self._unsettled = ""
        self._report: Report = lambda _: None

    async def run(self, report: Report) -> OperationResult:
        """Fetch and publish the missing ticks.

        Raises:
            EngineUnavailable: Kafka or the object store does not answer.
            NoHistory: ticks are missing, and no provider returned any; the message contains the reasons.
            SettingsError: more than `_MAX_TICKS` ticks, or a configured provider without a price history.
        """
        self._report = report
        report(Progress(done=0, unit="ticks", message="searching missing ticks"))
        assets = self._settings.find_assets(self._arguments.assets) if self._arguments.assets else self._settings.assets
        history_clients = self._history_clients()
        # Connect first: fencing ends an open transaction of an earlier backfill before the missing ticks are read.
        async for attempt in self._retry_kafka():
            with attempt:
                await asyncio.to_thread(self._transport.connect)
        try:
            self._unfilled = UnfilledTicks(self._settings, await asyncio.to_thread(self._wanted, assets))
            await asyncio.to_thread(self._unfilled.load)
            self._total = self._unfilled.count
            for number, history_client in enumerate(history_clients):
                for asset in assets:
                    await self._fill(history_client, asset, preferred=number == 0)
            return self._result(sum(history_client.calls for history_client in history_clients))
        finally:
            self._transport.close()
            for history_client in history_clients:
                await history_client.aclose()

    def _history_clients(self) -> list[HistoryClient]:
        chosen = self._arguments.provider
        names = (chosen,) if chosen is not None else self._settings.collect.history_providers
        unknown = [name for name in names if history_of(name) is None]
        if unknown:
            where = "--provider" if chosen is not None else "CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS"
            hint = f"no price history for a backfill from {', '.join(unknown)} ({where}): valid are {', '.join(with_history())}"
            raise SettingsError(hint, setting=where)
        return [HistoryClient(name, self._settings, self._clock) for name in names]

    def _wanted(self, assets: Sequence[Asset]) -> dict[str, set[int]]:
        tick_ms, given, now_ms = self._settings.collect.tick_ms, self._arguments, self._clock.now_ms()
        settled_ms = settled_before(self._settings, now_ms, self._clients)  # before the gaps and the lake are read
        end_ms = now_ms if given.end_ms is None else min(given.end_ms, now_ms)
        gaps = read_gaps(self._settings)
        first_live = first_live_ticks(self._settings) if given.start_ms is not None else {}
        wanted: dict[str, set[int]] = {}
        unsettled: list[int] = []
        for asset in assets:
            runs = list(ticks_wanted(given, asset.asset_id, gaps, first_live.get(asset.asset_id), tick_ms, end_ms))
            if sum(map(len, runs)) + sum(map(len, wanted.values())) > _MAX_TICKS:
                raise SettingsError(
                    f"more than {_MAX_TICKS:,} ticks: choose fewer assets or a shorter time range (--assets, --from, --to)", setting="--from"
                )
            ticks = {tick for run in runs for tick in run}
            wanted[asset.asset_id] = {tick for tick in ticks if tick < settled_ms}
            unsettled += sorted(ticks - wanted[asset.asset_id])
        if unsettled:
            self._unsettled = f"{len(unsettled):,} ticks from {second_text(min(unsettled))} on are not filled: the collector may still publish them"
            self._notes[self._unsettled] = None
        return wanted

    async def _fill(self, history_client: HistoryClient, asset: Asset, *, preferred: bool) -> None:
        """Fill the missing ticks of an asset from one provider. Failures become notes; the next provider is tried for the remaining ticks."""
        ticks = sorted(self._unfilled.left.get(asset.asset_id, ()))
        for provider_id, own in ids_by_time(history_client.name, asset, ticks):
            if provider_id is None:
                self._reasons[asset.asset_id] = FallbackReason.MISSING_ASSET
                self._notes[f"{asset.asset_id}: {history_client.name} does not list it"] = None
                continue
            try:
                await self._fill_run(history_client, asset, provider_id, own, preferred=preferred)
            except ProviderFailure as error:
                self._reasons[asset.asset_id] = error.reason
                self._notes[f"{asset.asset_id}: {error.message}"] = None
                _log.warning("history_not_given", provider=history_client.name, asset=asset.asset_id, reason=error.message)

    async def _fill_run(self, history_client: HistoryClient, asset: Asset, provider_id: str, ticks: Sequence[int], *, preferred: bool) -> None:
        currency = await history_client.currency(provider_id, self._report_progress)
        steps = history_client.source.steps(ticks, self._clock.now_ms(), self._max_age_ms)
        for step in steps:
            for window in windows(step.ticks, step.span_ms, step.lookback_ms):
                await self._fill_window(history_client, asset, provider_id, currency, window, step, preferred=preferred)
        too_old = len(ticks) - sum(len(step.ticks) for step in steps)
        if too_old:
            message = f"the history of {history_client.name} does not reach back to {second_text(ticks[0])}: {too_old:,} ticks"
            raise NoHistory(message, provider=history_client.name, reason=FallbackReason.MISSING_ASSET)

    async def _fill_window(
        self, history_client: HistoryClient, asset: Asset, provider_id: str, currency: str, window: Window, step: Step, *, preferred: bool
    ) -> None:
        self._report_progress(f"requesting {asset.asset_id} from {history_client.name}, starting at {second_text(window.ticks[0])}")
        found = 0

        async def fetch(span: Window) -> HistoryResponse:
            return await history_client.fetch(provider_id, span, step, self._report_progress)

        async for response, priced in prices(fetch, window, step.span_ms, step.length_ms, self._max_age_ms):
            found += len(priced)
            if priced:
                reason = None if preferred else self._reasons.get(asset.asset_id, FallbackReason.MISSING_ASSET)
                source = PriceSource(history_client.name, provider_id, currency, response.received_ms, response.exchange.fetch_id, reason)
                await self._publish(asset, priced, source, response)
        if found < len(window.ticks):
            self._reasons.setdefault(asset.asset_id, FallbackReason.MISSING_ASSET)
        self._report_progress("")

    async def _publish(self, asset: Asset, priced: dict[int, Point], source: PriceSource, response: HistoryResponse) -> None:
        """Publish one transaction. After an unknown outcome, the transport finds out whether it was committed."""
        left = self._unfilled.left[asset.asset_id]
        exchange = Message(source.provider.encode(), response.exchange.to_json())
        transaction: KafkaTransaction | None = None
        refused: Sequence[Refused] = ()
        async for attempt in self._retry_kafka():
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    await asyncio.to_thread(self._transport.connect)
                    if transaction is not None and self._transport.is_published(transaction):
                        refused = self._transport.was_refused(transaction)
                        break
                # Other producers, such as a replay of dead letters, may have published some of the ticks in the meantime.
                await asyncio.to_thread(self._unfilled.refresh)
                records = [record_of(asset, tick, priced[tick], source) for tick in sorted(priced.keys() & left)]
                if not records:
                    return
                messages = tuple(Message(record.asset_id.encode(), record.to_json()) for record in records)
                transaction = KafkaTransaction(f"{self._operation_id}-{source.fetch_id}", records[-1].tick_ts, messages, (exchange,))
                refused = await asyncio.to_thread(self._transport.publish, transaction)
        left.difference_update(priced)
        if transaction is None:
            return
        lost = sum(one.message in transaction.messages for one in refused)
        if refused:
            self._notes[f"{asset.asset_id}: Kafka refused {lost:,} rows and {len(refused) - lost} exchanges ({refused[0].reason})"] = None
        self._rows += len(transaction.messages) - lost
        self._windows += 1

    def _retry_kafka(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.2),
            stop=stop_after_delay(_KAFKA_TIMEOUT_S),
            sleep=self._clock.sleep,
            reraise=True,
        )

    def _report_progress(self, message: str) -> None:
        self._report(Progress(done=self._rows, total=self._total, unit="ticks", message=message))

    def _result(self, calls: int) -> OperationResult:
        left = {asset_id: len(ticks) for asset_id, ticks in self._unfilled.left.items() if ticks}
        notes = tuple(f"{asset_id}: {count:,} ticks without a price from any provider" for asset_id, count in left.items())
        if self._total == 0:
            return OperationResult(message=self._unsettled or _NOTHING_TO_FILL, figures={"ticks_wanted": 0, "rows": 0}, notes=tuple(self._notes))
        if self._rows == 0 and left:
            raise NoHistory(f"none of {self._total:,} ticks could be filled: {'; '.join(self._notes) or 'no provider had a price'}"[:1000])
        figures = {"ticks_wanted": self._total, "rows": self._rows, "ticks_left": sum(left.values()), "calls": calls, "transactions": self._windows}
        return OperationResult(message=f"{self._rows:,} of {self._total:,} ticks filled", figures=figures, notes=(*self._notes, *notes))


def ids_by_time(provider: str, asset: Asset, ticks: Sequence[int]) -> list[tuple[str | None, list[int]]]:
    """Split sorted ticks where the provider's id of the asset changes; None where it has no id."""
    runs: list[tuple[str | None, list[int]]] = []
    for tick in ticks:
        provider_id = provider_id_at(asset, provider, utc(tick))
        if not runs or runs[-1][0] != provider_id:
            runs.append((provider_id, []))
        runs[-1][1].append(tick)
    return runs
