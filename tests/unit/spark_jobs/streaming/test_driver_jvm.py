"""Errors of the start of the driver's JVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptoviz.errors import EngineUnavailable
from spark_jobs.streaming.driver_jvm import launch_driver


def test_a_jvm_that_ends_at_once_is_reported_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPARK_LOCAL_IP", "PYSPARK_PYTHON"):  # a launch sets them
        monkeypatch.setenv(name, "")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 3\n")
    java.chmod(0o700)
    with pytest.raises(EngineUnavailable, match="the JVM of Spark's driver has ended with code 3 at its start"):
        launch_driver(java, "a.jar", {"spark.driver.extraJavaOptions": "", "spark.driver.memory": "64m"})
