"""quixstreams to Parquet on S3, in its own environment: `python run.py TASK DONE`, with the project's folder on PYTHONPATH."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.kafka import ConnectionConfig
from quixstreams.sinks.community.file.formats import ParquetFormat
from quixstreams.sinks.community.file.s3 import S3FileSink

from bench.lake.contend.task import Done, Task


def main() -> None:
    task = Task.read(Path(sys.argv[1]))
    application = Application(
        broker_address=ConnectionConfig.from_librdkafka_dict(task.librdkafka, ignore_extras=True),
        consumer_group="bench-quix",
        auto_offset_reset="earliest",
        commit_every=task.per_trigger,
        commit_interval=60.0,
        auto_create_topics=False,
        max_partition_buffer_size=100_000,
        consumer_extra_config={"isolation.level": "read_committed", "fetch.message.max.bytes": 4 << 20},
        state_dir=task.folder,
        loglevel="WARNING",
    )
    first: list[float] = []

    def note(_: Any) -> None:
        if not first:
            first.append(time.perf_counter())

    sink = S3FileSink(
        bucket=task.bucket,
        directory=task.prefix,
        format=ParquetFormat(compression="snappy"),
        endpoint_url=task.endpoint,
        region_name=task.region,
        aws_access_key_id=task.access_key,
        aws_secret_access_key=task.secret_key,
    )
    stream = application.dataframe(application.topic(task.topic, value_deserializer="json", key_deserializer="bytes"))
    task.begin()
    stream.update(note).sink(sink)
    application.run(stream, count=task.records, collect=False)
    Done(time.perf_counter() - first[0], task.records).write(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
