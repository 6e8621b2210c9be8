"""What the soak calls growth, and that its faults name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.idle import _KINDS
from bench.soak import KILLED, KILLED_KINDS, RESTARTED, STOPPED, Samples
from control.reconcile.components import build_table
from control.reconcile.supervisor import Supervisor
from cryptoviz.settings import load_settings
from spark_jobs.streaming.actor import LakeActor
from tests.chaos.pipeline_rig import CONTROLLER


def samples(**values: list[float]) -> Samples:
    flat = {"pss_mb": [3000.0] * 40, "descriptors": [900.0] * 40, "threads": [400.0] * 40, "files": [300.0] * 40}
    return Samples(Path("/"), flat | values)


def test_noise_and_a_warm_up_are_no_growth() -> None:
    noisy = [3000.0 + 150 * (number % 2) for number in range(40)]
    warm = [1000.0] * 8 + [3000.0] * 32
    assert samples(pss_mb=noisy).grown() == samples(pss_mb=warm).grown() == []


@pytest.mark.parametrize(("name", "step"), [("pss_mb", 30.0), ("descriptors", 10.0), ("threads", 5.0), ("files", 5.0)])
def test_a_leak_is_named(name: str, step: float) -> None:
    (found,) = samples(**{name: [samples().sums[name][0] + step * number for number in range(40)]}).grown()
    assert re.match(rf"{name} grew from \d+ to \d+; allowed: \d+", found)


def test_a_single_peak_is_no_growth() -> None:
    assert samples(descriptors=[900.0] * 39 + [9000.0]).grown() == []


def test_faults_name_components_and_processes_that_exist() -> None:
    components = {*build_table(load_settings("demo")), CONTROLLER}
    assert {*KILLED, *STOPPED, *RESTARTED} <= components
    assert set(KILLED_KINDS) <= {*_KINDS.values(), LakeActor.__name__, Supervisor.__name__}
