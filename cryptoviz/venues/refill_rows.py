"""What is the same in the refills of all venues: trades of rows, and which numbers an answer proves to be gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.trades.id_runs import IdRun, runs_of
from cryptoviz.trades.record import Source, Trade, is_amount
from cryptoviz.venues.events import Voided
from cryptoviz.venues.spec import Instrument

__all__ = ["RefillRows", "absent_runs"]


@dataclass(slots=True)
class RefillRows:
    """Collects the rows of a response."""

    venue: str
    instrument: Instrument
    response: HttpResponse
    trades: list[Trade] = field(default_factory=list)
    voided: list[Voided] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    invalid: set[int] = field(default_factory=set)

    @property
    def ingest_us(self) -> int:
        return self.response.received_ms * 1_000

    def add(self, number: int, price: str, size: str, side: str, venue_us: int | None) -> None:
        """A row. Without a valid price and size it is kept as invalid, so that one bad row does not cost the page."""
        self.numbers.add(number)
        if not (is_amount(price) and is_amount(size)):
            self.invalid.add(number)
            return
        one = self.instrument
        self.trades.append(
            Trade.numbered(
                venue=self.venue, venue_symbol=one.symbol, asset_id=one.asset_id, quote_currency=one.quote_currency, trade_number=number,
                price=price, size=size, side=side, venue_ts=venue_us, ingest_ts=self.ingest_us, source=Source.REFILL,
                connection=self.response.fetch_id,
            )
        )  # fmt: skip

    def void(self, number: int) -> None:
        """A row that is no trade."""
        self.numbers.add(number)
        self.voided.append(Voided(self.instrument.symbol, number))

    def absent(self, run: IdRun, first: int, last: int) -> tuple[tuple[IdRun, str], ...]:
        """The parts of `run` that will never come: not in the response although it covers the numbers `first` to `last`, or invalid."""
        low, high = max(run.first, first), min(run.last, last)
        invalid = [number for number in self.invalid if run.first <= number <= run.last]
        gone = absent_runs(self.numbers, low, high)
        return (*((each, PermanentReason.NOT_AT_VENUE) for each in gone), *((each, PermanentReason.INVALID) for each in runs_of(invalid)))


def absent_runs(present: Iterable[int], first: int, last: int) -> Sequence[IdRun]:
    """The runs between `first` and `last`, inclusive, without any of the numbers that are present."""
    found: list[IdRun] = []
    expected = first
    for number in sorted(number for number in set(present) if first <= number <= last):
        if number > expected:
            found.append(IdRun(expected, number - 1))
        expected = number + 1
    if expected <= last:
        found.append(IdRun(expected, last))
    return found
