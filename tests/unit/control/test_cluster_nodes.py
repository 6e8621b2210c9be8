"""Which workers of a cluster are missing."""

from __future__ import annotations

from control.cluster_nodes import missing_workers


def test_workers_are_known_by_address_or_name() -> None:
    assert missing_workers(["192.0.2.11", "localhost", "no.such.invalid"], {"127.0.0.1": "a", "192.0.2.12": "b"}) == ["192.0.2.11", "no.such.invalid"]
    assert missing_workers(["192.0.2.12"], {"192.0.2.12": "b"}) == []
    assert missing_workers([], {}) == []
