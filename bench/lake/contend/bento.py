"""Bento, the MIT-licensed fork of Redpanda Connect: Kafka to Parquet to S3 by a configuration, without code.

Built from pinned sources (`bench/lake/bento`) into the cache at the first run, with the Go that builds MinIO. It reads uncommitted records too (this
release has no setting for it), keeps no offsets in its rows, and its Parquet has no time type: times stay epoch ms.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow.fs import FileSelector

from bench.lake.contend.task import Done, Task
from cryptoviz.engines.cache import require_own_cache
from cryptoviz.engines.minio_build import find_go
from cryptoviz.engines.process import bound_to_parent
from cryptoviz.errors import PreflightError
from cryptoviz.lake.objects import S3Access
from cryptoviz.settings import load_settings
from spark_jobs.tables.record_spec import PRICES_SPEC, JsonType
from tests.support.waiting import eventually

__all__ = ["bento_config", "bento_program", "run_bento"]

_MODULE = Path(__file__).resolve().parents[1] / "bento"
_BATCH_RECORDS = 100_000
_BATCH_PERIOD = "5s"
_TIMEOUT_S = 900.0
_LOOK_S = 0.2
_TYPES = {JsonType.STRING: "UTF8", JsonType.NUMBER: "DOUBLE", JsonType.BOOLEAN: "BOOLEAN", JsonType.INTEGER: "INT64"}


def bento_program() -> Path:
    """The program, built if it is missing (7 min of processor time). Raises SystemExit without a recent Go, or if the build fails."""
    settings = load_settings()
    folder = settings.cache / "bench-bento"
    require_own_cache(settings, (folder.name,))
    built = folder / "go.sum"  # the sources that the program was built from
    if built.is_file() and built.read_bytes() == (_MODULE / "go.sum").read_bytes():
        return folder / "bento"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        go = find_go()
    except PreflightError as error:
        raise SystemExit(f"Bento is built with the Go that MinIO is built with ({error}), or leave it out with --contenders") from None
    command = [str(go), "build", "-p", "2", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "bento"), "."]
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    if subprocess.run(command, cwd=_MODULE, env=environment, check=False).returncode:
        raise SystemExit("Bento cannot be built: see above (it needs the Go of its go.mod or newer), or leave it out with --contenders")
    shutil.copyfile(_MODULE / "go.sum", built)
    return folder / "bento"


def run_bento(task: Task) -> Done:
    """Until the store has all records, with the program's start (under a second)."""
    program, config = bento_program(), Path(task.folder) / "bento.json"
    config.write_text(json.dumps(bento_config(task)), encoding="utf-8")
    wanted = task.records - len(task.starts)  # the backlog is one transaction: a marker in each partition
    secrets = {
        "BENTO_ACCESS_KEY": task.access_key,
        "BENTO_SECRET_KEY": task.secret_key,
        "BENTO_KAFKA_PASSWORD": task.librdkafka.get("sasl.password", ""),
    }
    task.begin()
    begun = time.perf_counter()
    process = subprocess.Popen(bound_to_parent([str(program), "-c", str(config)]), env=os.environ | secrets)
    store, seen = S3Access(task.endpoint, task.region, task.access_key, task.secret_key).filesystem(), dict[str, int]()

    def complete() -> bool:
        if process.poll() is not None:
            raise SystemExit(f"Bento ended with {process.returncode}")
        for found in store.get_file_info(FileSelector(f"{task.bucket}/{task.prefix}", allow_not_found=True)):
            if found.path not in seen:
                seen[found.path] = pq.read_metadata(found.path, filesystem=store).num_rows
        assert sum(seen.values()) >= wanted, f"{sum(seen.values())} of {wanted} rows are in the store"
        return True

    try:
        eventually(complete, _TIMEOUT_S, _LOOK_S)
        return Done(time.perf_counter() - begun, wanted)
    finally:
        process.terminate()
        process.wait()


def bento_config(task: Task) -> dict[str, Any]:
    """As a user would write it: a batch and a file for 100 000 records of a partition, or for 5 s; a processing thread for each core."""
    kafka = task.librdkafka
    sasl = {"mechanism": kafka.get("sasl.mechanism"), "username": kafka.get("sasl.username"), "password": "${BENTO_KAFKA_PASSWORD}"}
    columns = [{"name": field.name, "type": _TYPES[field.json_type], "optional": not field.required} for field in PRICES_SPEC.fields]
    return {
        "http": {"enabled": False},
        "logger": {"level": "WARN"},
        "input": {
            "kafka_franz": {
                "seed_brokers": [kafka["bootstrap.servers"]],
                "sasl": [sasl] if kafka.get("security.protocol", "").startswith("SASL") else [],
                "consumer_group": "",
                "topics": [f"{task.topic}:{partition}:{start}" for partition, start in task.starts.items()],
                "checkpoint_limit": 4 * _BATCH_RECORDS,
                "fetch_max_partition_bytes": "4MiB",
                "batching": {"count": _BATCH_RECORDS, "period": _BATCH_PERIOD},
            }
        },
        "pipeline": {"processors": [{"parquet_encode": {"schema": columns, "default_compression": "snappy"}}]},
        "output": {
            "aws_s3": {
                "bucket": task.bucket,
                "path": f'{task.prefix}/${{! meta("kafka_partition") }}-${{! meta("kafka_offset") }}.parquet',
                "endpoint": task.endpoint,
                "region": task.region,
                "force_path_style_urls": True,
                "credentials": {"id": "${BENTO_ACCESS_KEY}", "secret": "${BENTO_SECRET_KEY}"},
            }
        },
    }
