"""Progress in the Delta log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.errors import LakeError
from cryptoviz.lake.progress import Progress, merge

_offsets = st.dictionaries(st.tuples(st.uuids().map(str), st.integers(0, 99)), st.integers(0, 2**62), max_size=6)


@given(st.text(max_size=5), st.integers(0, 2**40), _offsets)
def test_json_and_back(run: str, sequence: int, offsets: dict[tuple[str, int], int]) -> None:
    progress = Progress(run, sequence, offsets)
    assert Progress.from_json(progress.to_json()) == progress


@given(_offsets, _offsets)
def test_merge_never_goes_back(before: dict[tuple[str, int], int], after: dict[tuple[str, int], int]) -> None:
    merged = merge(before, after)
    assert merged.keys() == before.keys() | after.keys()
    assert all(merged[key] >= offset for side in (before, after) for key, offset in side.items())
    assert merge(merged, before) == merged


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 2, "run": "a", "sequence": 1, "offsets": {}}', '{"version": 1, "run": "a"}'])
def test_progress_that_cannot_be_read_is_no_progress_to_guess(text: str) -> None:
    with pytest.raises(LakeError):
        Progress.from_json(text)
