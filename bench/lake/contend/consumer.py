"""Plain Python: confluent-kafka, pyarrow.json, pyarrow.parquet, one PUT for each batch. One process for each partition, or one for all."""

from __future__ import annotations

import io
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from bench.lake.contend.task import Done, Task
from cryptoviz.lake.objects import S3Access, minio_client
from spark_jobs.streaming.decode import ndjson_schema
from spark_jobs.tables.record_spec import PRICES_SPEC

__all__ = ["run_consumer"]

_POLL_S = 1.0
_MIN_PART_BYTES = 5 << 20


def run_consumer(name: str, task: Task) -> Done:
    """`consumer-1` or `consumer-2`: the number of processes."""
    processes = int(name.rpartition("-")[2])
    with ProcessPoolExecutor(processes) as pool:
        shares = [_share(task, number, processes) for number in range(processes)]
        warm = [
            replace(share, starts={p: max(0, s - task.warm_records // 2) for p, s in share.starts.items()}, ends=share.starts) for share in shares
        ]
        list(pool.map(_drain, [replace(share, prefix=f"{task.prefix}-warm") for share in warm]))
        task.begin()
        begun = time.perf_counter()
        counts = list(pool.map(_drain, shares))
        return Done(time.perf_counter() - begun, sum(counts))


def _share(task: Task, number: int, processes: int) -> Task:
    mine = [partition for partition in task.starts if int(partition) % processes == number]
    return replace(task, starts={p: task.starts[p] for p in mine}, ends={p: task.ends[p] for p in mine})


def _drain(task: Task) -> int:
    consumer = Consumer(
        {
            **task.librdkafka,
            "group.id": "bench-consumer",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 4 << 20,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    consumer.assign([TopicPartition(task.topic, int(partition), start) for partition, start in task.starts.items()])
    waiting = {int(partition) for partition, end in task.ends.items() if end > task.starts[partition]}
    total, values, offsets, partitions = 0, [], [], []
    while waiting:
        for message in consumer.consume(10_000, _POLL_S):
            partition, offset = cast("int", message.partition()), cast("int", message.offset())
            if message.error() is not None or offset >= task.ends[str(partition)]:
                waiting.discard(partition)
                continue
            values.append(cast("bytes", message.value()))
            offsets.append(offset)
            partitions.append(partition)
        if len(values) >= task.per_trigger // 2 or (values and not waiting):
            total += _write(task, total, values, offsets, partitions)
            values, offsets, partitions = [], [], []
    consumer.close()
    return total


def _write(task: Task, number: int, values: list[bytes], offsets: list[int], partitions: list[int]) -> int:
    text = b"".join(values)
    options = pj.ReadOptions(use_threads=False, block_size=1 << 20)
    rows = pj.read_json(
        pa.BufferReader(text), options, pj.ParseOptions(explicit_schema=ndjson_schema(PRICES_SPEC), unexpected_field_behavior="ignore")
    )
    for name in ("tick_ts", "source_ts", "ingest_ts"):
        rows = rows.set_column(rows.column_names.index(name), name, rows.column(name).cast(pa.timestamp("ms", tz="UTC")))
    rows = rows.append_column("kafka_partition", pa.array(partitions, pa.int32())).append_column("kafka_offset", pa.array(offsets, pa.int64()))
    days = pc.floor_temporal(rows.column("tick_ts"), unit="day")
    client = minio_client(S3Access(task.endpoint, task.region, task.access_key, task.secret_key))
    for day in pc.unique(days):
        when = day.as_py()
        sink = pa.BufferOutputStream()
        pq.write_table(rows.filter(pc.equal(days, day)), sink, compression="snappy")
        data = sink.getvalue()
        key = f"{task.prefix}/year={when.year}/month={when.month}/day={when.day}/part-{min(task.starts)}-{number}.parquet"
        client.put_object(task.bucket, key, io.BytesIO(data), data.size, part_size=max(_MIN_PART_BYTES, data.size))
    return int(rows.num_rows)
