"""`python -m bench.lake.contend NAME TASK DONE`: runs a contender, including its warm-up, and writes its result."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.lake.contend.bento import run_bento
from bench.lake.contend.consumer import run_consumer
from bench.lake.contend.spark import SINKS, run_spark
from bench.lake.contend.steps import STEPS, run_step
from bench.lake.contend.task import Task


def main() -> None:
    name, task_file, done_file = sys.argv[1:]
    task = Task.read(Path(task_file))
    if name in SINKS:
        done = run_spark(name, task)
    elif name in STEPS:
        done = run_step(name, task)
    elif name == "bento":
        done = run_bento(task)
    else:
        done = run_consumer(name, task)
    done.write(Path(done_file))


if __name__ == "__main__":
    main()
