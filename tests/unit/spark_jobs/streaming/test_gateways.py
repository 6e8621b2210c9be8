"""Spark's start options: protections enabled, no secret in an option, native libraries outside of folders shared by all users."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cryptoviz.errors import PreflightError
from cryptoviz.settings import SPARK_SECRET_VARIABLE, load_settings
from spark_jobs.streaming.gateways import spark_secret
from spark_jobs.streaming.session import spark_configs

SECRET = "canary-of-the-spark-secret"


def configs() -> dict[str, str]:
    return spark_configs(load_settings(home=Path("/nowhere")), "run")


def test_connections_are_authenticated_and_encrypted_with_no_older_way_beside() -> None:
    found = configs()
    assert found["spark.authenticate"] == "true"
    assert found["spark.network.crypto.enabled"] == "true"
    assert found["spark.network.crypto.saslFallback"] == "false"


@pytest.mark.parametrize("option", ["spark.ui.killEnabled", "spark.ui.threadDumpsEnabled", "spark.ui.heapHistogramEnabled"])
def test_the_ui_only_shows(option: str) -> None:
    assert configs()[option] == "false"


def test_the_secret_is_in_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPARK_SECRET_VARIABLE, SECRET)
    assert spark_secret() == SECRET
    assert SECRET not in str(configs())


@pytest.mark.parametrize("value", [None, ""])
def test_no_secret_is_a_refusal_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(SPARK_SECRET_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(SPARK_SECRET_VARIABLE, value)
    with pytest.raises(PreflightError, match=SPARK_SECRET_VARIABLE):
        spark_secret()


@pytest.mark.parametrize("process", ["spark.driver", "spark.executor"])
def test_java_unpacks_where_tmpdir_says(process: str) -> None:
    assert f"-Djava.io.tmpdir={tempfile.gettempdir()} " in configs()[f"{process}.extraJavaOptions"]
