"""`BaseProvider`: the extension point. A provider is one class that turns a list of assets into observations."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderFailure, ProviderUnavailable
from cryptoviz.log import get_logger
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.failures import bad_payload
from cryptoviz.providers.fetcher import CallLog, Fetcher
from cryptoviz.providers.listing_status import AskList, ListingStatus
from cryptoviz.providers.parse_result import Parsed
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.schema_drift import ShapeWatch
from cryptoviz.providers.spec import ProviderConfig, ProviderSpec
from cryptoviz.providers.values import positive_or_none
from cryptoviz.records import FallbackReason, Observation, PollTrace, TickResult

__all__ = ["BaseProvider", "Parsed", "Poll"]

T = TypeVar("T")

MAX_ATTEMPTS = 2
"""One quick retry. A second one would take most of the tick, and the fallback provider has answered by then."""
RETRY_WAIT_S = (0.05, 0.25)
"""Range of the delay before the retry: jitter, so that scrapers that fail together do not retry together."""


@dataclass(slots=True)
class Poll(CallLog):
    """A poll in progress, from which `BaseProvider.poll` makes the result. The provider keeps nothing of it.

    Attributes:
        asset_failures: why single coins have no price, of all attempts.
        fetch_ids: exchange by asset, of all attempts.
        unlisted: requested ids that are not in the responses of this attempt: wrong ids, or coins that the provider no longer lists.
    """

    asset_failures: dict[str, FallbackReason] = field(default_factory=dict)
    fetch_ids: dict[str, str] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()


_CURRENT: ContextVar[Poll] = ContextVar("poll")
"""The poll of the current task and of the tasks that it starts: `get_crypto_data` does not pass it on, and concurrent polls stay apart."""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: FallbackReason
    message: str
    retry_after_s: float | None = None


class BaseProvider(ABC):
    """One remote price API.

    Subclass it, set `spec`, implement `get_crypto_data`, and register the class: built-ins in `cryptoviz.providers.registry`, others as an entry
    point of the group `cryptoviz.providers`. No network in the constructor.

    Attributes:
        spec: the facts of the provider.
    """

    spec: ClassVar[ProviderSpec]

    def __init__(self, settings: ProviderConfig, fetcher: Fetcher, clock: Clock) -> None:
        self.settings = settings
        self._fetcher = fetcher
        self._clock = clock
        self._log = get_logger(f"provider/{self.name}")
        self.shape_watch = ShapeWatch(self.name, self.spec.shapes)
        self.ids = ListingStatus()

    @abstractmethod
    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """Prices of `assets`, for each of which this provider has an id. Coins that are left out count as `missing_asset`.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the whole request failed; see `reason`.
        """

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def base_url(self) -> str:
        """The root of all paths, without a slash at its end."""
        return self.spec.root(self.settings)

    def auth_headers(self) -> dict[str, str]:
        """Headers with the API key, if the plan has one. Keys are sent in headers only, never in a URL."""
        return self.spec.headers(self.settings)

    def id_of(self, asset: Asset) -> str | None:
        """The provider's id of an asset; None if it does not list the coin."""
        return asset.provider_ids.get(self.name)

    def ids_of(self, assets: Sequence[Asset]) -> dict[str, str]:
        """The provider's ids -> our asset ids, for the assets that it lists."""
        return {provider_id: asset.asset_id for asset in assets if (provider_id := self.id_of(asset)) is not None}

    @property
    def current_poll(self) -> Poll:
        """The poll that the caller is part of; outside of polls an empty one."""
        return _CURRENT.get(None) or Poll()

    async def _get(self, path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], T], shorten: Callable[[Any], Any] | None = None) -> T:
        """GET a path below the base address, as a call of the current poll. See `HttpFetcher.get`."""
        return await self._fetcher.get(f"{self.base_url}{path}", params, self.auth_headers(), parse, shorten, self.current_poll)

    async def fetch(
        self, path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], Parsed], shorten: Callable[[Any], Any] | None = None
    ) -> list[Observation]:
        """GET a path below the base address; failures of single coins that `parse` reports are kept for the tick's result.

        May be called concurrently. `shorten` reduces the JSON value of a body that is too long to be recorded; `parse` reads the
        result in the same way.
        """

        def parse_and_keep(response: HttpResponse) -> tuple[Parsed, HttpResponse]:
            return parse(response), response

        parsed, response = await self._get(path, params, parse_and_keep, shorten)
        poll = self.current_poll
        poll.asset_failures |= parsed.asset_failures
        poll.unlisted |= parsed.unlisted
        poll.fetch_ids |= dict.fromkeys((o.asset_id for o in parsed.observations), response.fetch_id)
        self.shape_watch.see(path, response)
        return parsed.observations

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """Those of `ids` that are in the provider's own list, each with the reason why it is not traded now; empty if it is traded.

        None: there is no list, or it contains no more than each response does. `ask` makes the calls.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the list cannot be read.
        """
        del ids, ask
        return None

    @property
    def note(self) -> str:
        """A message for people, beside failures and the status of ids in the provider's list; empty if there is none."""
        return ""

    def memory(self) -> Any:
        """State, as JSON, on which the next poll depends beside its responses. Recorded, so that a replay can `recall` it. None: no state."""
        return None

    def recall(self, memory: Any) -> None:  # noqa: B027 (most providers have no state)
        """Restore the state that `memory()` returned."""

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        """One tick's result, within `budget_s` seconds. Never raises: errors become the result's `failure`. Polls may overlap."""
        poll, known = Poll(tick_ts), list[Asset]()
        failed, found = None, dict[str, Observation]()
        memory, cut, limit = None, False, asyncio.timeout(budget_s)
        token = _CURRENT.set(poll)
        try:
            known = [asset for asset in assets if self.id_of(asset) is not None]
            poll.asset_failures = {asset.asset_id: FallbackReason.MISSING_ASSET for asset in assets if self.id_of(asset) is None}
            memory = self.memory()
            async with limit:
                observations = _checked(self.name, await self._poll_with_retry(poll, known))
            self.shape_watch.judge(observations, self._clock.now_ms())
            found = {observation.asset_id: observation for observation in observations}
            self.ids.answered(self.ids_of(known), poll.unlisted, found.keys())
        except TimeoutError:
            cut = limit.expired()
            within = f"no answer within the tick's {budget_s:.1f} s" if cut else "TimeoutError in its code"
            failed = _Failure(FallbackReason.TIMEOUT, f"{self.name}: {within}")
        except ProviderFailure as error:
            failed = _Failure(error.reason, error.message, error.retry_after_s)
        except CryptoVizError as error:
            failed = _Failure(FallbackReason.BAD_PAYLOAD, error.message)
        except (Exception, asyncio.CancelledError) as error:  # an error of a third party's provider must not end the collection
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # this poll was cancelled, not a task that the provider awaited
            self._log.exception("provider_bug", provider=self.name)
            failed = _Failure(FallbackReason.BAD_PAYLOAD, f"{self.name}: {type(error).__name__} in its code")
        finally:
            _CURRENT.reset(token)
        return self._result(poll, known, found, failed, PollTrace(tuple(poll.calls), memory, cut))

    async def _poll_with_retry(self, poll: Poll, assets: Sequence[Asset]) -> list[Observation]:
        # Imported here: every process that reads settings imports this module, and most of them never poll.
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

        retrying = AsyncRetrying(
            stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_random(*RETRY_WAIT_S),
            retry=retry_if_exception(_worth_a_second_try),
            sleep=self._clock.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                poll.attempt, poll.unlisted = attempt.retry_state.attempt_number, frozenset()
                return await self.get_crypto_data(assets)
        raise AssertionError("tenacity either returns or raises")  # pragma: no cover

    def _result(self, poll: Poll, known: Sequence[Asset], found: dict[str, Observation], failed: _Failure | None, trace: PollTrace) -> TickResult:
        # An earlier attempt may have failed for coins that this attempt found.
        failures = {asset_id: reason for asset_id, reason in poll.asset_failures.items() if asset_id not in found}
        for asset in known:
            if asset.asset_id not in found:
                failures.setdefault(asset.asset_id, FallbackReason.MISSING_ASSET)
        last = poll.last
        fetch_id = last.fetch_id if last else ""
        return TickResult(
            provider=self.name,
            tick_ts=poll.tick_ts,
            fetch_id=fetch_id,
            attempt=poll.attempt,
            ingest_ts=last.finished_ts if last else self._clock.now_ms(),
            observations=found,
            asset_failures={} if failed else failures,
            failure=failed.reason if failed else None,
            message=failed.message if failed else "",
            fetch_ids={asset_id: own for asset_id, own in poll.fetch_ids.items() if asset_id in found and own != fetch_id},
            trace=trace,
            retry_after_s=failed.retry_after_s if failed else None,
        )


def _checked(provider: str, observations: Any) -> list[Observation]:
    """The result of a third party's provider, if it has the type that `get_crypto_data` must return."""
    if not isinstance(observations, list) or not all(isinstance(each, Observation) for each in observations):
        raise bad_payload(provider, f"get_crypto_data returned {type(observations).__name__}, expected a list of Observation")
    wrong = next((each for each in observations if positive_or_none(each.price) is None), None)
    if wrong is not None:
        raise bad_payload(provider, f"get_crypto_data returned {wrong.asset_id} with the price {wrong.price!r}, expected a number above 0")
    return observations


def _worth_a_second_try(error: BaseException) -> bool:
    """Retried: a lost connection or a 5xx. Not a timeout (no time is left), a 429 (a retry makes it worse) or a 404 (permanent)."""
    return isinstance(error, ProviderUnavailable) and error.reason is FallbackReason.UNAVAILABLE and not error.final
