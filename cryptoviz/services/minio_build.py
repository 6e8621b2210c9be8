from pathlib import Path

from cryptoviz.settings import Settings

MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


def minio_program(settings: Settings) -> Path:
    return settings.cache / "minio" / MINIO_VERSION / "minio"
