"""`python -m spark_jobs.record_classes`: write the class archives of Kafka and Spark unless they exist. Called by scripts/setup."""

from __future__ import annotations

import sys

from cryptoviz.engines.class_archive import archive_options
from cryptoviz.engines.jars import kafka_classpath, spark_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.errors import CryptoVizError
from cryptoviz.masking import redact
from cryptoviz.settings import Settings, load_settings


def main() -> int:
    """Exit code 0 also without an archive: everything works without it."""
    try:
        settings = load_settings()
        places = {"kafka": kafka_classpath, "spark": spark_classpath} if settings.kafka.embedded else {"spark": spark_classpath}
        java = java_executable()
        missing = [name for name, classpath in places.items() if not archive_options(settings, name, java, classpath(settings))]
        if missing:
            _record(settings, missing)
    except Exception as error:  # noqa: BLE001 (of Kafka's client, Py4J or the disk)
        found = error.message if isinstance(error, CryptoVizError) else f"{type(error).__name__}: {error}"
        print(f"setup: no class archive ({redact(found)}); Kafka and Spark start without it, but later", file=sys.stderr)
    return 0


def _record(settings: Settings, names: list[str]) -> None:
    # Only now: these import Spark and Kafka's client, and the check that nothing is missing is part of each `make`.
    from cryptoviz.engines.kafka_classes import record_kafka_classes
    from cryptoviz.log import configure_logging
    from spark_jobs.streaming.spark_classes import record_spark_classes

    print("setup: recording the classes of Kafka and Spark, for quick starts (about a minute)", file=sys.stderr)
    configure_logging("WARNING")
    for name in names:
        {"kafka": record_kafka_classes, "spark": record_spark_classes}[name](settings)


if __name__ == "__main__":
    sys.exit(main())
