"""Benchmark of the page: first price, bytes over the wire, processor time of a session's build."""
