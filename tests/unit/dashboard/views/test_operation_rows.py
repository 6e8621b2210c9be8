"""Operations on the page: what a form starts, and the rows."""

from __future__ import annotations

import pytest

from cryptoviz.operations import (
    Arguments,
    BackfillArguments,
    MaintenanceArguments,
    OperationState,
    OperationStatus,
    Progress,
    ReplayArguments,
    VerifyArguments,
)
from dashboard.views.operation_rows import operation_table, parse_operation

NOON_MS, HOUR_MS = 1_769_860_800_000, 3_600_000
SPAN = {"from": "2026-01-31T12:00:00Z", "to": "2026-01-31T13:00"}


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ({"kind": "verify"}, VerifyArguments()),
        ({"kind": "maintenance"}, MaintenanceArguments()),
        ({"kind": "backfill"}, BackfillArguments()),
        ({"kind": "backfill", "asset": "bitcoin", **SPAN}, BackfillArguments(assets=("bitcoin",), start_ms=NOON_MS, end_ms=NOON_MS + HOUR_MS)),
        ({"kind": "replay", **SPAN}, ReplayArguments(start_ms=NOON_MS, end_ms=NOON_MS + HOUR_MS)),
    ],
)
def test_a_form_starts_an_operation(form: dict[str, str], asked: Arguments) -> None:
    assert parse_operation(form, {"bitcoin"}) == asked


@pytest.mark.parametrize(
    "form",
    [
        {}, {"kind": "shutdown"}, {"kind": "replay"}, {"kind": "replay", "from": SPAN["from"]}, {"kind": "backfill", "asset": "dogecoin"},
        {"kind": "backfill", "from": "noon"}, {"kind": "backfill", "from": SPAN["to"], "to": SPAN["from"]}, {"kind": "replay", "from": "9" * 30},
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_form_is_said(form: dict[str, str]) -> None:
    assert isinstance(parse_operation(form, {"bitcoin"}), str)


def status(state: OperationState, **changes: object) -> OperationStatus:
    return OperationStatus.model_validate({"id": "1f0c" * 8, "arguments": VerifyArguments(), "state": state, "created_ms": NOON_MS, **changes})


def test_a_row_has_its_progress_and_the_verb_with_an_effect() -> None:
    running = operation_table([status(OperationState.RUNNING, progress=Progress(done=25, total=100, unit="ticks"))], operates=True)
    assert "25 of 100 ticks" in running
    assert "width:25.0%" in running
    assert 'data-act="cancel_operation"' in running
    failed = operation_table([status(OperationState.FAILED, message="<b>no</b>", figures={"rows_total": 1234.0})], operates=False)
    assert 'data-act="resume_operation"' in failed
    assert "disabled" in failed
    assert "&lt;b&gt;no&lt;/b&gt;" in failed
    assert "rows total 1,234" in failed
    for over in (OperationState.SUCCEEDED, OperationState.CANCELLING):
        assert "data-act" not in operation_table([status(over)], operates=True)
