"""An exchange's own listing of the pairs that we ask for: the key of each in its results, and the currency that it is quoted in.

Neither is taken from the text of an id. Kraken answers for `XBTUSD` under `XXBTZUSD`, for `XDGUSD` under `XDGUSD`, and `XRPRLUSD` is quoted in RLUSD;
Binance's `BTCBUSD` is quoted in BUSD. While there is no listing, a result counts only under exactly our id, and a currency only for the ids of the
asset table, whose exchange columns are each against one known currency.
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
"""A result without the key of a listed pair makes the listing due again, this long after it was read."""
RETRY_S = 60.0
"""After a listing that could not be read; doubles up to `LONGEST_RETRY_S`."""
LONGEST_RETRY_S = 3_600.0
_REFUSALS = (FallbackReason.RATE_LIMITED, FallbackReason.QUOTA)


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our ids in an exchange's listing.

    Attributes:
        key: under which results hold it.
        quote: the currency of its prices; empty when the listing does not say.
    """

    key: str
    quote: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair of a listing, under all names that the listing gives it. `halted` is why it is not traded now, empty when it is."""

    pair: Pair
    names: frozenset[str]
    halted: str = ""


QuoteOf = Callable[[str], str | None]
"""The currency of an id of the asset table; None for any other id (`ProviderSpec.quote_of`)."""
Listing = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Pair]]]
"""Reads the listing of some of our ids (the exchange's -> ours). An id that it does not have is left out."""


def match_ids(ids: Iterable[str], entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entry of each id, by the listing's own names, whole and as they are written.

    An id that names two entries has none, nor have two ids that name the same one: nothing says which is meant.
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
    """What is known without a listing: results under exactly our id, in the currency that the asset table states for it."""
    return {one: Pair(one, quote) for one in ids if (quote := quote_of(one)) is not None}


def quoted_in_dollars(ids: Mapping[str, str], pairs: Mapping[str, Pair]) -> dict[str, str]:
    """Those of `ids` (the exchange's -> ours) whose prices can stand beside dollar prices. Others are not asked for."""
    return {one: asset_id for one, asset_id in ids.items() if one in pairs and pairs[one].quote in DOLLARS}


class PairBook:
    """The listing of one exchange, as far as our ids go, for one event loop. It holds one entry an id at most.

    Attributes:
        note: what a person should know: why there is no listing, or which ids are not quoted in dollars. Empty when there is nothing.
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
        shown = [f"{', '.join(others[:5])}: not asked for"] if others else []
        return "; ".join(part for part in (self._trouble, *shown) if part)

    @property
    def absent(self) -> frozenset[str]:
        """Ids that the listing did not have when it was read. They are looked up again after an hour."""
        now_s = self._clock.monotonic_s()
        return frozenset(one for one, since_s in self._absent_s.items() if now_s - since_s < ASK_AGAIN_S)

    def pairs(self, ids: Iterable[str]) -> dict[str, Pair]:
        """What is known of `ids` now; without an entry, what the asset table knows, unless the listing says that there is none."""
        wanted = tuple(ids)
        known = {one: self._pairs[one] for one in wanted if one in self._pairs}
        return pairs_of_table(self._quote_of, self.waiting(wanted)) | known

    def waiting(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of `ids` of which the listing has said nothing yet."""
        return frozenset(ids) - self._pairs.keys() - self.absent

    async def refresh(self, ids: Mapping[str, str], read: Listing) -> None:
        """Read the listing when it is due: of ids it has said nothing of, of all once a day and after `doubt`.

        Raises:
            ProviderUnavailable: the exchange refuses calls for a while, which binds the prices too. Other failures only delay the next try.
        """
        now_s = self._clock.monotonic_s()
        wanted = dict(ids) if self._is_old(now_s) else {one: ids[one] for one in self.waiting(ids)}
        if not wanted or now_s < self._next_try_s:
            return
        # Before the call, because a call that the poll's deadline ends has failed, too.
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
        """A result lacked the key of a listed pair: keys may have changed."""
        self._doubted = True

    def memory(self) -> dict[str, Any]:
        """What the next poll depends on, as JSON."""
        now_s = self._clock.monotonic_s()
        due = now_s >= self._next_try_s
        pairs = {one: [pair.key, pair.quote] for one, pair in sorted(self._pairs.items())}
        return {"pairs": pairs, "absent": sorted(self.absent), "due": due, "old": due and self._is_old(now_s)}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Know what a book knew whose `memory()` was this."""
        now_s = self._clock.monotonic_s()
        self._pairs = {one: Pair(*pair) for one, pair in memory["pairs"].items()}
        self._absent_s = dict.fromkeys(memory["absent"], now_s)
        self._doubted, self._failures = False, 0
        self._read_s = float("-inf") if memory["old"] else now_s
        self._next_try_s = float("-inf") if memory["due"] else float("inf")

    def _is_old(self, now_s: float) -> bool:
        age_s = now_s - self._read_s
        return age_s >= REFRESH_S or (self._doubted and age_s >= DOUBT_S)
