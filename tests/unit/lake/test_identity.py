"""What identifies a record in Kafka identifies its row."""

from __future__ import annotations

import pyarrow as pa

from cryptoviz.lake.identity import identities, identity_of, last_part
from cryptoviz.lake.schema import IDENTITY, IDENTITY_COLUMNS, PRICES, QUOTES, TRADE_GAPS, TRADES
from tests.support.trades import trade


def test_rows_and_records_of_trades_have_the_same_identity() -> None:
    records = [trade(7), trade(8), trade(7, symbol="ETHUSDT"), trade(7, venue="kraken")]
    rows = pa.table({name: [record[name] for record in records] for name in ("trade_id", "venue_symbol", "venue")})
    found = identities(rows, "trades")
    assert found == [identity_of(record, "trades") for record in records]
    assert len(set(found)) == 4
    assert [last_part(one) for one in found] == ["7", "8", "7", "7"]


def test_other_tables_have_one_column() -> None:
    assert identities(pa.table({"event_id": ["a", "b"]}), "prices") == ["a", "b"]
    assert (identity_of({"event_id": "a"}, "prices"), last_part("a")) == ("a", "a")
    assert IDENTITY_COLUMNS.keys() == IDENTITY.keys()
    for table, schema in (("prices", PRICES), ("trades", TRADES), ("trade_gaps", TRADE_GAPS), ("quotes", QUOTES)):
        assert {*IDENTITY_COLUMNS[table]} <= {*schema.names}
