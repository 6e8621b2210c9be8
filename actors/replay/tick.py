"""One recorded tick through the providers' classes and the collector's choice of now."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from actors.collecting.core import unified_of
from actors.collecting.tick_recorder import RecordedRules, RecordedTick
from actors.replay.recorded_fetcher import BASE_URL, RecordedExchange, RecordedFetcher, ReplayClock
from cryptoviz.errors import CryptoVizError, RecordError
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import unnamed
from cryptoviz.providers.registry import provider_class
from cryptoviz.providers.schema_drift import ShapeWatch
from cryptoviz.records import TickResult, UnifiedRecord
from cryptoviz.settings import ProviderSettings

__all__ = ["Replayer"]

BUDGET_S = 60.0
"""Of a poll that waits for nothing: ends a provider that waits for what a recording cannot give."""
NO_KEY = SecretStr("replayed")


class Replayer:
    """Makes ticks again. Keeps the providers that it has made. For one event loop, one tick at a time."""

    def __init__(self) -> None:
        self._clock = ReplayClock()
        self._made: dict[tuple[str, str], tuple[BaseProvider, RecordedFetcher]] = {}

    async def records(self, tick: RecordedTick, rules: RecordedRules, exchanges: Mapping[str, RecordedExchange]) -> tuple[UnifiedRecord, ...]:
        """The tick's unified records, in asset order.

        Args:
            tick: as the collector closed it.
            rules: those that it names.
            exchanges: by fetch id; those of other ticks do no harm.

        Raises:
            RecordError: the recording does not hold all that the tick depends on; `reason` is `exchange`, `trace`, `provider` or `call`.
        """
        closed = tick.closed
        results = {name: await self._result(tick, rules, result, exchanges) for name, result in closed.results.items()}
        closed = type(closed)(closed.tick_ts, results, closed.absent, closed.idle)
        unified = unified_of(closed, rules.assets, rules.rules)
        return unified.records if unified is not None else ()

    async def _result(
        self, tick: RecordedTick, rules: RecordedRules, recorded: TickResult, exchanges: Mapping[str, RecordedExchange]
    ) -> TickResult:  # fmt: skip
        trace, name = recorded.trace, recorded.provider
        if trace is None or trace.cut:
            # It was not asked, or had no time to answer: no body has a say in that.
            if recorded.failure is None:
                raise RecordError(f"the recording does not say which calls {name} made", reason="trace")
            return recorded
        for call in trace.calls:
            if call.fetch_id and call.fetch_id not in exchanges:
                raise RecordError(f"{name}'s exchange {call.fetch_id} is not in the recording", reason="exchange")
        provider, fetcher = self._provider(tick.rules_id, rules, name)
        self._clock.ms = recorded.ingest_ts
        provider.recall(trace.memory)
        fetcher.load(trace.calls, exchanges)
        result = await provider.poll(recorded.tick_ts, rules.assets, BUDGET_S)
        if fetcher.problems:
            raise RecordError(fetcher.problems[0], reason="call")
        return result

    def _provider(self, rules_id: str, rules: RecordedRules, name: str) -> tuple[BaseProvider, RecordedFetcher]:
        made = self._made.get((rules_id, name))
        if made is None:
            plan, keyed = rules.plans.get(name, ("", False))
            own = ProviderSettings(base_url=BASE_URL, plan=plan, api_key=NO_KEY if keyed else None)
            fetcher = RecordedFetcher(name)
            try:
                provider = provider_class(name)(own, fetcher, self._clock)
            except CryptoVizError as error:
                raise RecordError(f"{name} cannot be asked again: {unnamed(name, error.message)}", reason="provider") from None
            # What the bodies look like was told when they came.
            provider.shape_watch = ShapeWatch(name, {})
            made = self._made[rules_id, name] = (provider, fetcher)
        return made
