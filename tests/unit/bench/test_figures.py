"""Statistics and the table of figures."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.lake.commits import Commit, latencies_ms
from bench.lake.contend.bento import bento_config
from bench.lake.contend.task import Task
from bench.lake.day import creep, growth
from bench.lake.figures import Figure, Part
from bench.lake.report import markdown, number
from bench.lake.usage import kind_of
from cryptoviz.lake.parts import Part as FilePart
from tests.support.measure import Spread, spread, sum_by


def test_percentiles_of_a_known_sample() -> None:
    assert spread([float(value) for value in range(101)]) == Spread(101, 50.0, 95.0, 99.0, 100.0)


def test_a_few_values_have_no_percentiles() -> None:
    with pytest.raises(ValueError, match="19 values are too few"):
        spread([1.0] * 19)


def test_creep_sees_a_leak_and_no_visitors() -> None:
    assert creep([78, 111, 80, 78, 173, 81, 128, 78, 92]) == 0
    assert creep([78, 111, 80, 79, 173, 81, 128, 83, 92]) == 4
    assert creep([5]) == 0


def test_growth_is_the_slope() -> None:
    assert growth([0, 10, 20], [5.0, 7.0, 9.0]) == pytest.approx(0.2)


@pytest.mark.parametrize(("value", "text"), [(0.1234, "0.123"), (12.34, "12.3"), (123.4, "123"), (9_999, "9999"), (152_341.6, "152 342"), (0, "0")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_says_what_was_met_and_what_was_missed() -> None:
    figures = (
        Figure("job", 166_000, "records/s", ">= 150 000", True, "6 CPU s", "OK: all rows"),
        Figure("query", 130.0, "ms", "<= 100 ms", False),
        Figure("other", 5.0, "ms"),
    )
    part = Part("x", "Title", "3 records", figures, "OK: all rows", "2 cores", "0.1 0.1 0.1", "python -m bench.lake", ("a note",))
    assert markdown([part]) == (
        "### Title\n"
        "`python -m bench.lake`: 3 records. Machine: 2 cores; load before it: 0.1 0.1 0.1.\n"
        "\n"
        "| figure | measured | aim | note | checked |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| job | 166 000 records/s | >= 150 000: met | 6 CPU s | OK: all rows |\n"
        "| query | 130 ms | <= 100 ms: **missed** |  |  |\n"
        "| other | 5 ms |  |  |  |\n"
        "\n"
        "Verifier: OK: all rows\n"
        "\n"
        "- a note\n"
    )


def test_latency_is_from_kafkas_time_to_the_commit_and_only_of_the_window() -> None:
    path = FilePart("0123abcd", 1, 2, 4, date(2026, 1, 1)).path
    times = {0: np.array([1, 1, 1, 1, 1], np.int64), 1: np.array([50, 60, 100, 0, 300], np.int64)}  # offset 3 is a transaction marker
    found = [Commit(1_000.0, (path, "someone-elses.parquet"), 10, 2)]
    assert latencies_ms(found, times, 100, 1_000) == [900.0, 700.0]
    assert latencies_ms(found, times, 200, 1_000) == [700.0]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("java -Xmx384m kafka.Kafka /tmp/server.properties", "Kafka"),
        ("/usr/bin/java -cp x --conf spark.python.daemon.module=spark_jobs.streaming.daemon pyspark-shell", "driver JVM"),
        ("java io.ray.runtime.runner.worker.DefaultWorker", "executor JVM"),
        ("python -m spark_jobs.streaming.daemon", "Python workers"),
        ("ray::LakeActor.start", "lake actor"),
        ("ray::IDLE", "Ray"),
        ("python -m bench.lake.contend quix", "contender"),
        ("/home/me/.cache/cryptoviz/bench-bento/bento -c bento.json", "contender"),
        ("python -m bench.lake", "bench"),
    ],
)
def test_processes_are_classified_by_their_command(command: str, kind: str) -> None:
    assert kind_of(command) == kind


def test_a_task_survives_its_file_which_only_its_owner_reads(tmp_path: Path) -> None:
    task = Task(
        {"bootstrap.servers": "b:1"},
        {"bootstrap.servers": "b:1"},
        "t",
        {"0": 5, "1": 0},
        {"0": 9, "1": 3},
        1,
        2,
        "http://s",
        "r",
        "a",
        "s",
        "bucket",
        "p",
        "f",
        ["j"],
    )
    task.write(tmp_path / "task.json")
    assert Task.read(tmp_path / "task.json") == task
    assert (tmp_path / "task.json").stat().st_mode & 0o777 == 0o600
    assert task.records == 7


def test_bento_reads_each_partition_from_its_start_into_the_tables_columns_without_secrets_in_its_file() -> None:
    kafka = {
        "bootstrap.servers": "b:1",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "p1",
    }
    task = Task(kafka, {}, "t", {"0": 5, "1": 2}, {"0": 9, "1": 3}, 1, 2, "http://s", "r", "a", "s1", "bucket", "own", "f")
    config = bento_config(task)
    assert config["input"]["kafka_franz"]["topics"] == ["t:0:5", "t:1:2"]
    columns = {column["name"]: (column["type"], column["optional"]) for column in config["pipeline"]["processors"][0]["parquet_encode"]["schema"]}
    assert columns["price"] == ("DOUBLE", False)
    assert columns["tick_ts"] == ("INT64", False)
    assert columns["rank"] == ("INT64", True)
    assert columns["fallback_reason"] == ("UTF8", True)
    assert not {"year", "kafka_offset"} & columns.keys()
    assert not [secret for secret in ("p1", "s1") if secret in json.dumps(config)]


def test_values_of_processes_are_summed_by_label_without_those_that_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended, own = psutil.Process(child.pid), psutil.Process()
    child.wait()
    assert sum_by([own, ended, own], lambda process: "kind", lambda process: 2.0 * len(process.cwd()[:1])) == {"kind": 4.0}
