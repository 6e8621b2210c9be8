"""Finds ids that a provider refuses, if one fails a whole call (Binance's -1121, Kraken's `EQuery:Unknown asset pair`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderFailure
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import failure
from cryptoviz.records import FallbackReason

__all__ = ["UnknownIds", "unknown_id"]

ASK_AGAIN_S = 3600.0
"""Delay until a refused id is requested again: it may be listed by then."""
T = TypeVar("T")
Ask = Callable[[Mapping[str, str]], Awaitable[list[T]]]


def unknown_id(provider: str, message: str) -> ProviderFailure:
    """The error of a call with an unknown id."""
    error = failure(provider, FallbackReason.MISSING_ASSET, message, final=True)
    error.unknown_id = True
    return error


class UnknownIds:
    """Finds refused ids by bisection, and leaves them out for an hour."""

    def __init__(self, provider: str, clock: Clock) -> None:
        self._clock = clock
        self._refused_s: dict[str, float] = {}
        self._log = get_logger(f"provider/{provider}")

    @property
    def refused(self) -> frozenset[str]:
        """The ids that are left out now."""
        now = self._clock.monotonic_s()
        return frozenset(name for name, since in self._refused_s.items() if now - since < ASK_AGAIN_S)

    def recall(self, names: Iterable[str]) -> None:
        """Leave out these ids and no others."""
        self._refused_s = dict.fromkeys(names, self._clock.monotonic_s())

    async def ask(self, ids: Mapping[str, str], ask: Ask[T]) -> list[T]:
        """`ask` for the ids that are not refused; one call if all are known.

        Raises:
            CryptoVizError: as `ask`, except for unknown ids.
        """
        refused = self.refused
        left = {provider_id: asset_id for provider_id, asset_id in ids.items() if provider_id not in refused}
        return await self._halve(left, ask) if left else []

    async def _halve(self, ids: Mapping[str, str], ask: Ask[T]) -> list[T]:
        try:
            return await ask(ids)
        except CryptoVizError as error:
            if not (isinstance(error, ProviderFailure) and error.unknown_id):
                raise
        if len(ids) == 1:
            (name,) = ids
            self._refused_s[name] = self._clock.monotonic_s()
            self._log.warning("id_is_not_listed", id=name)
            return []
        middle = len(ids) // 2
        first, second = dict(islice(ids.items(), middle)), dict(islice(ids.items(), middle, None))
        return await self._halve(first, ask) + await self._halve(second, ask)
