"""Replays one recorded tick with the present provider classes and collector rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from actors.collecting.core import unified_of
from actors.collecting.tick_recorder import RecordedRules, RecordedTick
from actors.replay.recorded_fetcher import BASE_URL, RecordedFetcher
from cryptoviz.assets import Asset
from cryptoviz.clock import StoppedClock
from cryptoviz.errors import CryptoVizError, RecordError
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import unnamed
from cryptoviz.providers.registry import provider_class
from cryptoviz.providers.schema_drift import ShapeWatch
from cryptoviz.records import RawExchange, TickResult, UnifiedRecord
from cryptoviz.settings import ProviderSettings
from cryptoviz.shards import merged, shard_assets

__all__ = ["Replayer"]

BUDGET_S = 60.0
"""Budget of a replayed poll, which takes no time: ends a provider that waits for something not in the recording."""
NO_KEY = SecretStr("replayed")


class Replayer:
    """Replays ticks and caches the provider instances. For one event loop, one tick at a time."""

    def __init__(self) -> None:
        self._clock = StoppedClock()
        self._made: dict[tuple[str, str], tuple[BaseProvider, RecordedFetcher]] = {}

    async def records(self, tick: RecordedTick, rules: RecordedRules, exchanges: Mapping[str, RawExchange]) -> tuple[UnifiedRecord, ...]:
        """The unified records of a tick, in asset order.

        Args:
            tick: the tick as the collector closed it.
            rules: the rules that the tick references.
            exchanges: by fetch id; may include those of other ticks.

        Raises:
            RecordError: the recording is incomplete for this tick; `reason` is `exchange`, `trace`, `provider` or `call`.
        """
        closed = tick.closed
        results = {name: await self._provider_result(tick, rules, result, exchanges) for name, result in closed.results.items()}
        closed = type(closed)(closed.tick_ts, results, closed.absent, closed.idle)
        unified = unified_of(closed, rules.assets, rules.rules)
        return unified.records if unified is not None else ()

    async def _provider_result(
        self, tick: RecordedTick, rules: RecordedRules, recorded: TickResult, exchanges: Mapping[str, RawExchange]
    ) -> TickResult:  # fmt: skip
        if not recorded.parts:
            return await self._result(tick, rules, recorded, exchanges, rules.assets)
        count = len(recorded.parts)
        shards = [(part, shard_assets(rules.assets, number, count)) for number, part in enumerate(recorded.parts, 1)]
        return merged([await self._result(tick, rules, part, exchanges, assets) for part, assets in shards], rules.assets)

    async def _result(
        self, tick: RecordedTick, rules: RecordedRules, recorded: TickResult, exchanges: Mapping[str, RawExchange], assets: Sequence[Asset]
    ) -> TickResult:  # fmt: skip
        trace, name = recorded.trace, recorded.provider
        if trace is None or trace.cut:
            # Not polled, or no time to answer: the result does not depend on a response.
            if recorded.failure is None:
                raise RecordError(f"the recording does not contain the calls of {name}", reason="trace")
            return recorded
        for call in trace.calls:
            if call.fetch_id and call.fetch_id not in exchanges:
                raise RecordError(f"{name}'s exchange {call.fetch_id} is not in the recording", reason="exchange")
        provider, fetcher = self._provider(tick.rules_id, rules, name)
        self._clock.ms = recorded.ingest_ts
        provider.recall(trace.memory)
        fetcher.load(trace.calls, exchanges)
        result = await provider.poll(recorded.tick_ts, assets, BUDGET_S)
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
                raise RecordError(f"{name} cannot be replayed: {unnamed(name, error.message)}", reason="provider") from None
            # Schema drift was reported when the responses were received.
            provider.shape_watch = ShapeWatch(name, {})
            made = self._made[rules_id, name] = (provider, fetcher)
        return made
