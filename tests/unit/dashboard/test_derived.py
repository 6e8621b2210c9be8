"""What sessions share."""

from __future__ import annotations

from dashboard.derived import Derived


def test_a_result_is_made_once_for_a_version_and_the_oldest_are_dropped() -> None:
    derived = Derived()
    made: list[int] = []

    def make(version: int) -> int:
        def compute() -> int:
            made.append(version)
            return version

        return derived.get(("totals", version), compute)

    assert [make(1), make(1), make(2)] == [1, 1, 2]
    assert made == [1, 2]
    for version in range(3, 80):
        make(version)
    make(1)
    assert made.count(1) == 2
