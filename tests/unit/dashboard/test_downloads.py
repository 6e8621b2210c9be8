"""Files made for one browser."""

from __future__ import annotations

from dashboard.downloads import Downloads


def token(address: str) -> str:
    assert address.startswith("download/")
    return address.removeprefix("download/")


def test_a_file_is_fetched_once_and_by_its_name_only() -> None:
    downloads = Downloads(lambda: 0.0)
    offered = token(downloads.offer('../a"b.csv', "text/csv", b"x"))
    assert downloads.take("other") is None
    found = downloads.take(offered)
    assert found is not None
    assert (found.name, found.content) == (".._a_b.csv", b"x")
    assert downloads.take(offered) is None


def test_a_file_is_kept_for_a_minute() -> None:
    now = [0.0]
    downloads = Downloads(lambda: now[0])
    offered = token(downloads.offer("a", "text/csv", b"x"))
    now[0] = 60_001.0
    assert downloads.take(offered) is None


def test_the_newest_file_is_kept_whatever_its_size() -> None:
    downloads = Downloads(lambda: 0.0)
    huge = b"x" * (300 * 2**20)
    first, second = (token(downloads.offer("a", "text/csv", huge)) for _ in range(2))
    assert downloads.take(first) is None
    assert downloads.take(second) is not None
