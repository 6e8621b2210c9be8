"""Class archives are recorded for what this machine runs, and never with an external Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptoviz.engines import kafka_classes
from cryptoviz.settings import load_settings
from spark_jobs import record_classes as module


@pytest.mark.parametrize(("servers", "wanted"), [("", ["kafka", "spark"]), ("broker.example:9093", ["spark"])])
def test_an_external_kafka_is_left_alone(servers: str, wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[str] = []
    if servers:
        monkeypatch.setenv("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", servers)
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path))
    monkeypatch.setattr(module, "archive_options", lambda settings, name, java, jars: [])
    for name in ("kafka_classpath", "spark_classpath"):
        monkeypatch.setattr(module, name, lambda settings: "a.jar")
    monkeypatch.setattr(module, "_record", lambda settings, names: recorded.extend(names))
    assert module.main() == 0
    assert recorded == wanted


def test_no_broker_is_started_for_an_external_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_classes, "EmbeddedKafka", lambda *_: pytest.fail("a broker was started"))
    monkeypatch.setattr(kafka_classes, "_use", lambda *_: pytest.fail("a record was written"))
    assert not kafka_classes.record_kafka_classes(
        load_settings(home=tmp_path / "home", cache=tmp_path / "cache", kafka={"bootstrap_servers": "broker.example:9093"})
    )


def test_any_failure_is_one_line_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a full disk, or of Kafka's client."""

    def full(settings: object, names: list[str]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path))
    monkeypatch.setattr(module, "archive_options", lambda settings, name, java, jars: [])
    for name in ("kafka_classpath", "spark_classpath"):
        monkeypatch.setattr(module, name, lambda settings: "a.jar")
    monkeypatch.setattr(module, "_record", full)
    assert module.main() == 0
    assert capsys.readouterr().err == (
        "setup: no class archive (OSError: [Errno 28] No space left on device); Kafka and Spark start without it, but later\n"
    )
