"""An exchange's own listing of the requested pairs: the key of each in results, and its quote currency.

Neither follows from the text of an id. Kraken returns `XBTUSD` under `XXBTZUSD` and `XDGUSD` under `XDGUSD`, and `XRPRLUSD` is quoted in RLUSD;
Binance's `BTCBUSD` is quoted in BUSD. Without a listing, a result counts only under exactly our id, and a currency is known only for the ids of the
asset table, each of whose exchange columns has one known currency.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderFailure
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import unnamed
from cryptoviz.providers.symbol_bisect import ASK_AGAIN_S
from cryptoviz.records import DOLLARS, FallbackReason

__all__ = ["Entry", "Pair", "PairBook", "match_ids", "pairs_of_table", "quoted_in_dollars"]

REFRESH_S = 86_400.0
"""Listings change by announcement, days ahead."""
DOUBT_S = 600.0
"""If a result lacks the key of a listed pair, the listing is read again, at the earliest this long after the last read."""
RETRY_S = 60.0
"""Delay after a listing could not be read; doubles up to `LONGEST_RETRY_S`."""
LONGEST_RETRY_S = 3_600.0
_REFUSALS = (FallbackReason.RATE_LIMITED, FallbackReason.QUOTA)


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our ids in an exchange's listing.

    Attributes:
        key: its key in results.
        quote: the currency of its prices; empty if the listing does not contain it.
    """

    key: str
    quote: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair of a listing, with all its names. `halted`: why it is not traded now; empty if it is traded."""

    pair: Pair
    names: frozenset[str]
    halted: str = ""


QuoteOf = Callable[[str], str | None]
"""The currency of an id of the asset table; None for any other id (`ProviderSpec.quote_of`)."""
Listing = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Pair]]]
"""Reads the listing of some of our ids (the exchange's -> ours). An id that is not in it is left out."""


def match_ids(ids: Iterable[str], entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entry of each id, by exact match with the listing's names.

    An id that matches two entries has none, and neither have two ids that match the same entry: both are ambiguous.
    """
    by_key: dict[str, set[Entry]] = {}
    by_name: dict[str, set[str]] = {}
    for entry in entries:
        by_key.setdefault(entry.pair.key, set()).add(Entry(entry.pair, frozenset(), entry.halted))
        for name in entry.names | {entry.pair.key}:
            by_name.setdefault(name, set()).add(entry.pair.key)
    named = {one: next(iter(keys)) for one in ids if len(keys := by_name.get(one, set())) == 1}
    claims = Counter(named.values())
    return {one: next(iter(by_key[key])) for one, key in named.items() if claims[key] == 1 and len(by_key[key]) == 1}


def pairs_of_table(quote_of: QuoteOf, ids: Iterable[str]) -> dict[str, Pair]:
    """The pairs without a listing: results under exactly our id, in the currency of the asset table."""
    return {one: Pair(one, quote) for one in ids if (quote := quote_of(one)) is not None}


def quoted_in_dollars(ids: Mapping[str, str], pairs: Mapping[str, Pair]) -> dict[str, str]:
    """Those of `ids` (the exchange's -> ours) whose prices are comparable with dollar prices. Others are not requested."""
    return {one: asset_id for one, asset_id in ids.items() if one in pairs and pairs[one].quote in DOLLARS}


class PairBook:
    """The part of an exchange's listing that concerns our ids, for one event loop. At most one entry per id.

    Attributes:
        note: a message for people: why there is no listing, or which ids are not quoted in dollars; empty if there is none.
    """

    def __init__(self, provider: str, quote_of: QuoteOf, clock: Clock) -> None:
        self._provider = provider
        self._quote_of = quote_of
        self._clock = clock
        self._pairs: dict[str, Pair] = {}
        self._absent_s: dict[str, float] = {}
        self._read_s = float("-inf")
        self._next_try_s = float("-inf")
        self._failures = 0
        self._doubted = False
        self._trouble = ""
        self._log = get_logger(f"provider/{provider}")

    @property
    def note(self) -> str:
        others = sorted(
            f"{one} is quoted in {pair.quote or 'a currency that is not named'}" for one, pair in self._pairs.items() if pair.quote not in DOLLARS
        )
        shown = [f"{', '.join(others[:5])}: not requested"] if others else []
        return "; ".join(part for part in (self._trouble, *shown) if part)

    @property
    def absent(self) -> frozenset[str]:
        """Ids that were not in the listing when it was read. They are looked up again after an hour."""
        now_s = self._clock.monotonic_s()
        return frozenset(one for one, since_s in self._absent_s.items() if now_s - since_s < ASK_AGAIN_S)

    def pairs(self, ids: Iterable[str]) -> dict[str, Pair]:
        """The pairs of `ids`: from the listing, else from the asset table unless the listing lacks the id."""
        wanted = tuple(ids)
        known = {one: self._pairs[one] for one in wanted if one in self._pairs}
        return pairs_of_table(self._quote_of, self.waiting(wanted)) | known

    def waiting(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of `ids` that have not been looked up yet."""
        return frozenset(ids) - self._pairs.keys() - self.absent

    async def refresh(self, ids: Mapping[str, str], read: Listing) -> None:
        """Read the listing if necessary: for new ids, and for all ids once a day and after `doubt`.

        Raises:
            ProviderUnavailable: the exchange refuses calls for some time, which applies to prices too. Other failures only delay the next attempt.
        """
        now_s = self._clock.monotonic_s()
        wanted = dict(ids) if self._is_old(now_s) else {one: ids[one] for one in self.waiting(ids)}
        if not wanted or now_s < self._next_try_s:
            return
        # Before the call, because a call that is ended by the poll's deadline has failed as well.
        self._failures += 1
        self._next_try_s = now_s + min(LONGEST_RETRY_S, RETRY_S * 2 ** min(self._failures - 1, 10))
        try:
            found = dict(await read(wanted))
        except CryptoVizError as error:
            self._trouble = f"its list of pairs cannot be read ({unnamed(self._provider, error.message)}): only pairs known without it have prices"
            self._log.warning("list_of_pairs_not_read", provider=self._provider, reason=error.message)
            if isinstance(error, ProviderFailure) and error.reason in _REFUSALS and not error.final:
                raise
            return
        if len(wanted) == len(ids):
            self._read_s, self._doubted = now_s, False
        self._failures, self._next_try_s, self._trouble = 0, float("-inf"), ""
        others = ids.keys() - wanted.keys()
        self._pairs = {one: pair for one, pair in self._pairs.items() if one in others} | found
        self._absent_s = {one: since_s for one, since_s in self._absent_s.items() if one in others}
        self._absent_s |= dict.fromkeys(wanted.keys() - found.keys(), now_s)

    def doubt(self) -> None:
        """Note that a result lacked the key of a listed pair: keys may have changed."""
        self._doubted = True

    def memory(self) -> dict[str, Any]:
        """The state on which the next poll depends, as JSON."""
        now_s = self._clock.monotonic_s()
        due = now_s >= self._next_try_s
        pairs = {one: [pair.key, pair.quote] for one, pair in sorted(self._pairs.items())}
        return {"pairs": pairs, "absent": sorted(self.absent), "due": due, "old": due and self._is_old(now_s)}

    def recall(self, memory: Mapping[str, Any]) -> None:
        now_s = self._clock.monotonic_s()
        self._pairs = {one: Pair(*pair) for one, pair in memory["pairs"].items()}
        self._absent_s = dict.fromkeys(memory["absent"], now_s)
        self._doubted, self._failures = False, 0
        self._read_s = float("-inf") if memory["old"] else now_s
        self._next_try_s = float("-inf") if memory["due"] else float("inf")

    def _is_old(self, now_s: float) -> bool:
        age_s = now_s - self._read_s
        return age_s >= REFRESH_S or (self._doubted and age_s >= DOUBT_S)
