"""Values become exact rows or dead letters with a reason, equally by the fast path and the slow path."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.streaming import decode as module
from spark_jobs.streaming.decode import Decoded, decode
from spark_jobs.tables.record_spec import PRICES_SPEC, RAW_SPEC
from tests.support.poison import ACCEPTED, GOOD, POISON, STAMP
from tests.support.records import TICK, binary, exchange, record

MAX_BYTES = 2048
TIMES = {"tick_ts", "source_ts", "ingest_ts", "started_ts", "finished_ts"}


def run(*values: bytes | None, spec: Any = PRICES_SPEC, stamp: int = STAMP) -> Decoded:
    return decode(binary(values), pa.array([stamp] * len(values), pa.int64()), spec, MAX_BYTES)


def expected_row(value: bytes) -> dict[str, Any]:
    """The expected cells, by Python's JSON reader."""
    fields = json.loads(value)
    row = {field.name: fields.get(field.name) for field in PRICES_SPEC.fields}
    for name in TIMES & row.keys():
        if row[name] is not None:
            row[name] = datetime.fromtimestamp(row[name] // 1000, UTC).replace(microsecond=row[name] % 1000 * 1000)
    return row


def without_nulls(value: bytes) -> bytes:
    return json.dumps({name: cell for name, cell in json.loads(value).items() if cell is not None}).encode() + b"\n"


@pytest.mark.parametrize("name", ACCEPTED)
def test_good_values_become_exact_rows(name: str) -> None:
    done = run(ACCEPTED[name])
    assert done.bad == ()
    assert done.rows.to_pylist() == [expected_row(ACCEPTED[name])]


@pytest.mark.parametrize("name", POISON)
def test_poison_is_a_dead_letter_and_its_neighbours_are_rows(name: str) -> None:
    value, reason = POISON[name]
    done = run(GOOD, value, GOOD)
    assert [bad.index for bad in done.bad] == [1]
    assert done.bad[0].reason.split(":")[0] == reason
    assert done.good.to_pylist() == [0, 2]
    assert done.rows.to_pylist() == [expected_row(GOOD)] * 2


def test_all_poison_at_once() -> None:
    values = [value for value, _ in POISON.values()]
    done = run(*values)
    assert [bad.reason.split(":")[0] for bad in done.bad] == [reason for _, reason in POISON.values()]
    assert done.rows.num_rows == 0


def test_blank_value_and_double_value_do_not_make_up_for_each_other() -> None:
    """Two rows in one value and none in the next: the count is correct, the rows are not."""
    done = run(GOOD.strip() + GOOD, b"  \n", GOOD)
    assert [bad.index for bad in done.bad] == [0, 1]
    assert done.good.to_pylist() == [2]


def test_published_values_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_slow", lambda *_: pytest.fail("slow path"))
    values = [record(TICK + i * 1000, price=1.5 + i).to_json() for i in range(500)]
    done = run(*values, stamp=TICK + 500_000)
    assert done.rows.to_pylist() == [expected_row(value) for value in values]


def test_fields_of_no_record_are_not_parsed_and_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_slow", lambda *_: pytest.fail("slow path"))
    parsed: list[list[str]] = []
    read = module._read_json

    def noted(buffer: pa.Buffer, schema: pa.Schema, unexpected: str) -> pa.Table:
        parsed.append(schema.names)
        return read(buffer, schema, unexpected)

    monkeypatch.setattr(module, "_read_json", noted)
    bare = without_nulls(record(TICK, market_cap=None, rank=None).to_json())
    done = run(bare, bare)
    assert done.rows.to_pylist() == [expected_row(record(TICK, market_cap=None, rank=None).to_json())] * 2
    assert [sorted(names) for names in parsed] == [sorted(json.loads(bare))]


def test_a_field_that_only_a_later_record_has_is_kept_and_an_unknown_one_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_slow", lambda *_: pytest.fail("slow path"))
    bare = without_nulls(record(TICK, market_cap=None).to_json())
    more = json.dumps({**json.loads(bare), "market_cap": 7.5}).encode() + b"\n"
    unknown = json.dumps({**json.loads(bare), "colour": "red"}).encode() + b"\n"
    assert run(bare, unknown, more).rows.column("market_cap").to_pylist() == [None, None, 7.5]
    assert run(unknown, more, bare).rows.column("market_cap").to_pylist() == [None, 7.5, None]


def test_a_slice_of_a_batch_is_read_from_its_own_start() -> None:
    values = [record(TICK + i * 1000, price=1.5 + i).to_json() for i in range(9)]
    part = binary(values).slice(3, 4)
    done = decode(part, pa.array([STAMP] * 4, pa.int64()), PRICES_SPEC, MAX_BYTES)
    assert done.rows.column("price").to_pylist() == [4.5, 5.5, 6.5, 7.5]


def test_empty_batch() -> None:
    done = run()
    assert done.rows.num_rows == 0
    assert done.bad == ()


_floats = st.floats(allow_nan=False, allow_infinity=False)
_records = st.builds(
    lambda **changes: record(**changes),
    tick_ts=st.integers(1_230_768_000_000, STAMP),
    price=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    market_cap=st.none() | _floats,
    low_24h=st.none() | _floats,
    rank=st.none() | st.integers(-(2**31), 2**31 - 1),
    source_ts=st.none() | st.integers(0, 253_402_300_799_999),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    fallback_reason=st.none() | st.text(max_size=5, alphabet='ab{}\n"\\'),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_records, min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_fast_and_slow_path_agree_on_any_record(records: list[Any], bare: set[int]) -> None:
    values = binary([without_nulls(one.to_json()) if index in bare else one.to_json() for index, one in enumerate(records)])
    stamps = pa.array([STAMP] * len(records), pa.int64())
    fast = decode(values, stamps, PRICES_SPEC, 1 << 20)
    slow = module._slow(values, stamps, PRICES_SPEC, 1 << 20)
    assert fast.bad == slow.bad == ()
    assert fast.rows.to_pylist() == slow.rows.to_pylist()
    assert fast.rows.column("price").to_pylist() == [one.price for one in records]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=3))
def test_a_spoiled_byte_never_breaks_the_batch(place: int, put: bytes) -> None:
    """For any value both paths give the same result, and neighbours are unaffected."""
    spoiled = GOOD[:place] + put + GOOD[place + 1 :]
    done = run(GOOD, spoiled, GOOD)
    alone = module._slow(binary([spoiled]), pa.array([STAMP], pa.int64()), PRICES_SPEC, MAX_BYTES)
    assert len(done.bad) == len(alone.bad)
    assert done.rows.num_rows == 3 - len(done.bad)
    assert not done.bad or done.bad[0].reason == alone.bad[0].reason


LITERALS = (
    "null", "true", "0", "-0", "1", "1.0", "1E+2", "1e400", "-1e400", "9007199254740993", "9223372036854775807", "9223372036854775808", "2147483648",
    "01", "1.", ".5", "+1", "NaN", "Infinity", "-Infinity", '""', '"1.5"', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', "[]", "[1, NaN]", "{}",
    "5e-324", "",
)  # fmt: skip
"""Of JSON, and nearly."""


def any_text(chance: random.Random) -> bytes:
    """A record with some optional fields, at times with another literal, an unknown field, a field twice or another order."""
    fields = [f'"{field.name}":{json.dumps(KNOWN[field.name])}' for field in PRICES_SPEC.fields if field.required or chance.random() < FILLED]
    if chance.random() < 0.1:
        name = chance.choice([field.name for field in PRICES_SPEC.fields])
        fields = [one for one in fields if not one.startswith(f'"{name}"')] + [f'"{name}":{chance.choice(LITERALS)}']
    if chance.random() < 0.15:
        fields.insert(chance.randrange(len(fields)), f'"{chance.choice(["added", "Price", ""])}":{chance.choice(LITERALS)}')
    if chance.random() < 0.03:
        fields.append(chance.choice(fields))
    if chance.random() < 0.2:
        chance.shuffle(fields)
    return f"{{{','.join(fields)}}}\n".encode()


KNOWN = json.loads(GOOD)
FILLED = 0.8


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_of_mixed_shapes_is_read_like_each_record_alone(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        values = binary([any_text(chance) for _ in range(chance.randint(1, 6))])
        stamps = pa.array([STAMP] * len(values), pa.int64())
        assert decode(values, stamps, PRICES_SPEC, MAX_BYTES) == module._slow(values, stamps, PRICES_SPEC, MAX_BYTES)


def test_raw_exchanges_keep_their_headers_as_json_text() -> None:
    one = exchange(TICK, body=None, status=None, error="timeout", outcome="timeout")
    done = run(one.to_json(), exchange(TICK, rate_limit_headers={"a": "ü"}).to_json(), b'{"fetch_id": 3}', spec=RAW_SPEC)
    first, second = done.rows.to_pylist()
    assert first["body"] is None
    assert first["status"] is None
    assert first["error"] == "timeout"
    assert json.loads(first["rate_limit_headers"]) == asdict(one)["rate_limit_headers"]
    assert second["rate_limit_headers"] == '{"a":"ü"}'
    assert [bad.reason for bad in done.bad] == ["wrong_type: fetch_id is 3, must be a JSON string"]
