"""Strict JSON, and that the quick look finds what the close one finds."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.providers import decode
from cryptoviz.providers.decode import MAX_DECODED_BYTES, decode_json
from tests.unit.providers.json_values import JSON


@given(JSON)
def test_what_a_strict_reader_takes_is_taken(value):
    assert decode_json(orjson.dumps(value)) == value
    assert decode_json(json.dumps(value, indent=2).encode()) == value


VALUES = ["1", '":"', "{}", '{"a":1}', '[{"a":":"}]', '"\\u003a"', '"\\u003A"', '"\\\\u003A"']
MEMBER = st.tuples(st.sampled_from(["a", "b", ":", "a:", "\\", '"', "ä"]), st.sampled_from(VALUES))


def written(key: str, escaped: bool) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"' if escaped else json.dumps(key, ensure_ascii=False)


@given(st.lists(st.tuples(MEMBER, st.booleans()), min_size=1, max_size=5), st.sampled_from(["", " ", "\n"]))
def test_repeated_keys_are_found_however_they_are_written(members, blank):
    text = f"{{{blank}" + f",{blank}".join(f"{written(key, escaped)}{blank}:{blank}{value}" for (key, value), escaped in members) + "}"
    keys = [key for (key, _), _ in members]
    if len(set(keys)) == len(keys):
        assert decode_json(text.encode()) == json.loads(text)
    else:
        with pytest.raises(ValueError, match="repeats the key"):
            decode_json(text.encode())


def test_a_good_body_is_read_once_however_its_colons_are_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "_look_for_repeated_keys", None)
    assert decode_json(b'{"a\\u003a":":", "b":"\\u003A\\u00e4"}') == {"a:": ":", "b": ":\u00e4"}


@pytest.mark.parametrize(
    "body",
    [b"", b"NaN", b"[1e999]", b"\xff", b'"\\ud800"', b"{'a':1}", b"[1,]", b"01", b"\xef\xbb\xbf[]", b"[" * 2000 + b"]" * 2000, b"[] []"],
    ids=["empty", "nan", "past double", "no utf-8", "surrogate", "quotes", "comma", "zero", "mark", "deep", "two"],
)
def test_what_is_no_strict_json_is_refused(body):
    with pytest.raises(ValueError):  # noqa: PT011 (each reader has its own words)
        decode_json(body)


def test_nesting_that_is_read_but_not_written_is_looked_at_closely():
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    assert decode_json(deep)["a"]["a"]
    with pytest.raises(ValueError, match="repeats the key"):
        decode_json(b'{"b":1,"b":2,"a":' * 300 + b"1" + b"}" * 300)


def test_a_body_of_countless_values_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match=f"more than {MAX_DECODED_BYTES} bytes"):
        decode_json(b"[" + b"{}," * 100_000 + b"{}]")
    assert len(decode_json(b"[" + b'{"a":1},' * 90_000 + b"{}]")) == 90_001
