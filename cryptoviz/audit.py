"""Audit records of the collector in the raw topic: inputs and rules of each tick. Read by replay and gap detection."""

from __future__ import annotations

__all__ = ["RECORDER", "RULES", "RULES_WHOLE", "TICK"]

RECORDER = "collector"
"""`provider` of audit records; reserved."""
TICK = "tick"
"""Endpoint of the record of one tick."""
RULES = "rules"
"""Endpoint of the rules, before `?part=N&of=M`."""
RULES_WHOLE = f"{RULES}?part=0&of=1"
"""Endpoint of rules that fit into one record: up to about a thousand assets."""
