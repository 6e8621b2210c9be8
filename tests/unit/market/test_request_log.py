"""The request log numbers, keeps and pages entries, across restarts and torn writes."""

import json
import math
from contextlib import ExitStack

import pytest

from market.request_log import RequestLog


@pytest.fixture
def opened():
    """Opens request logs and closes them after the test."""
    with ExitStack() as stack:

        def make(folder, **limits):
            log = RequestLog(folder, **limits)
            log.open()
            stack.callback(log.close)
            return log

        yield make


def fill(log, count):
    return [log.append("coingecko", "/coins/markets", 1000 + number, 200, None, {"bitcoin": 1.5 + number}) for number in range(count)]


def page(log, since=0, limit=10_000):
    return json.loads(log.page(since, limit))


def test_entries_are_numbered_from_one_and_read_back_as_written(opened, tmp_path):
    log = opened(tmp_path)
    price = 0.1 + 0.2
    assert log.append("coinmarketcap", "/v3/x", 17, 200, "outlier", {"1": price, "52": None}) == 1
    assert log.append("coinmarketcap", "/v3/x", 18, None, "hang", {}) == 2
    assert page(log)["entries"] == [
        {
            "seq": 1,
            "provider": "coinmarketcap",
            "endpoint": "/v3/x",
            "ts_ms": 17,
            "status": 200,
            "fault": "outlier",
            "prices": {"1": price, "52": None},
        },
        {"seq": 2, "provider": "coinmarketcap", "endpoint": "/v3/x", "ts_ms": 18, "status": None, "fault": "hang", "prices": {}},
    ]


def test_numbers_that_json_lacks_are_strings(opened, tmp_path):
    log = opened(tmp_path)
    log.append("coingecko", "/", 1, 200, "nan", {"a": math.nan, "b": math.inf, "c": -math.inf, "d": "1.5", "e": 0})
    assert page(log)["entries"][0]["prices"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": "1.5", "e": 0}


@pytest.mark.parametrize(("since", "limit", "expected"), [(0, 3, [1, 2, 3]), (7, 2, [8, 9]), (99, 5, [100]), (100, 5, []), (5000, 5, [])])
def test_pages(opened, tmp_path, since, limit, expected):
    log = opened(tmp_path)
    fill(log, 100)
    found = page(log, since, limit)
    assert [entry["seq"] for entry in found["entries"]] == expected
    assert found["next_since"] == (expected[-1] if expected else since)
    assert (found["first_seq"], found["last_seq"]) == (1, 100)


def test_an_empty_ledger_has_an_empty_page(opened, tmp_path):
    assert page(opened(tmp_path)) == {"first_seq": None, "last_seq": 0, "next_since": 0, "entries": []}


def test_numbers_continue_after_a_restart(opened, tmp_path):
    first = opened(tmp_path)
    fill(first, 5)
    first.close()
    second = opened(tmp_path)
    assert second.last_seq == 5
    assert fill(second, 2) == [6, 7]
    assert [entry["seq"] for entry in page(second)["entries"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_half_written_line_is_cut_off(opened, tmp_path):
    log = opened(tmp_path)
    fill(log, 3)
    log.close()
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"seq":4,"provider":"coinge')
    again = opened(tmp_path)
    assert fill(again, 1) == [4]
    assert [entry["seq"] for entry in page(again)["entries"]] == [1, 2, 3, 4]


def test_segments_rotate_and_pages_span_them(opened, tmp_path):
    log = opened(tmp_path, max_bytes=0, segment_bytes=1000)
    fill(log, 200)
    assert len(list(tmp_path.glob("ledger-*.jsonl"))) > 10
    seen, since = [], 0
    while entries := page(log, since, 7)["entries"]:
        seen += [entry["seq"] for entry in entries]
        since = seen[-1]
    assert seen == list(range(1, 201))


def test_old_segments_are_removed_and_first_seq_follows(opened, tmp_path):
    log = opened(tmp_path, max_bytes=3000, segment_bytes=1000)
    fill(log, 500)
    found = page(log)
    seqs = [entry["seq"] for entry in found["entries"]]
    assert seqs == list(range(found["first_seq"], 501))
    assert found["first_seq"] > 400
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000 + 1000


def test_a_restart_right_after_rotation_continues(opened, tmp_path):
    log = opened(tmp_path, segment_bytes=1000)
    fill(log, 50)
    log.close()
    (tmp_path / "ledger.jsonl").rename(tmp_path / "ledger-000000000000049.jsonl")
    assert fill(opened(tmp_path), 1) == [51]


def test_append_to_a_closed_ledger_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="not open"):
        RequestLog(tmp_path).append("coingecko", "/", 1, 200, None, {})
