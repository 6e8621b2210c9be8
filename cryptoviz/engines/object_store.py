"""MinIO, and the pipeline's buckets in an embedded or external S3 endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from cryptoviz.engines.cache import require_own_cache
from cryptoviz.engines.embedded import EmbeddedEngine, require_password
from cryptoviz.engines.minio_build import minio_program
from cryptoviz.engines.ports import PortUse, pipeline_ports
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError
from cryptoviz.lake.store_errors import reason
from cryptoviz.local.ownership import make_private
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.security.tls import trust, trust_of
from cryptoviz.settings import LOOPBACK, NO_KEY, S3Settings, Settings, child_environment, host_port
from cryptoviz.settings.engine_tls import ServerIdentity

__all__ = ["BucketAdmin", "EmbeddedMinio"]

_TIMEOUT_S = 1.8


class BucketAdmin:
    """Pings an S3 endpoint and creates buckets. Connects at the first call; thread-safe."""

    def __init__(self, s3: S3Settings) -> None:
        self._s3 = s3
        self._made: Any = None

    def ask(self) -> tuple[str, dict[str, float]]:
        """Check for both buckets; return a human-readable line and figures. Raises EngineUnavailable or SettingsError."""
        missing = [bucket for bucket in self._wanted() if not self._exists(bucket)]
        return f"{self._s3.endpoint}" + (f"; buckets missing: {', '.join(missing)}" if missing else ""), {"buckets": 2.0 - len(missing)}

    def ensure_buckets(self) -> None:
        """Create missing buckets. Raises SettingsError when the endpoint refuses, EngineUnavailable when it does not answer."""
        for bucket in self._wanted():
            if self._exists(bucket):
                continue
            try:
                self._client().make_bucket(bucket, location=self._s3.region)
            except S3Error as error:
                if error.code == "BucketAlreadyOwnedByYou":
                    continue
                raise (self._away(error) if _is_passing(error) else self._refused(bucket, error)) from error
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                raise self._away(error) from error
            else:
                get_logger("object-store").info("bucket_created", bucket=bucket)

    def close(self) -> None:
        self._made = None

    def _wanted(self) -> tuple[str, str]:
        return self._s3.prices_bucket, self._s3.lake_bucket

    def _exists(self, bucket: str) -> bool:
        try:
            return bool(self._client().bucket_exists(bucket))
        except S3Error as error:
            raise (self._away(error) if _is_passing(error) else self._refused(bucket, error)) from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from error
        except ValueError as error:  # an invalid bucket name
            raise SettingsError(
                f"bucket {bucket!r}: {error} (CRYPTOVIZ_S3__PRICES_BUCKET, __LAKE_BUCKET)", setting="CRYPTOVIZ_S3__LAKE_BUCKET"
            ) from error

    def _away(self, error: Exception) -> EngineUnavailable:
        text = f"the S3 service at {self._s3.endpoint} does not answer: {reason(error)} (CRYPTOVIZ_S3__ENDPOINT)"
        return EngineUnavailable(text, engine="object-store", address=self._s3.endpoint)

    def _refused(self, bucket: str, error: S3Error) -> SettingsError:
        text = f"{self._s3.endpoint} refuses bucket {bucket!r}: {error.code}, {error.message}"
        hint = "check CRYPTOVIZ_S3__ACCESS_KEY and CRYPTOVIZ_S3__SECRET_KEY, or create the bucket yourself"
        return SettingsError(f"{text}; {hint}", setting="CRYPTOVIZ_S3__ACCESS_KEY")

    def _client(self) -> Any:
        if self._made is None:
            parts = urlsplit(self._s3.endpoint)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
                setting = "CRYPTOVIZ_S3__ENDPOINT"
                raise SettingsError(f"{setting} is {self._s3.endpoint!r}; valid: http://host:port or https://host:port", setting=setting)
            timeout = urllib3.Timeout(total=_TIMEOUT_S)
            self._made = Minio(
                parts.netloc,
                access_key=self._s3.access_key,
                secret_key=self._s3.secret_key.get_secret_value() or NO_KEY,
                region=self._s3.region,
                secure=parts.scheme == "https",
                http_client=urllib3.PoolManager(timeout=timeout, retries=False, maxsize=2, ssl_context=trust_of(self._s3.endpoint, self._s3.ca_pem)),
            )
        return self._made


class EmbeddedMinio(EmbeddedEngine):
    """MinIO on `home/minio`, with its web console. See `cryptoviz.engines.build.Engine` for the contract."""

    name = "object-store"

    def __init__(self, settings: Settings, *, identity: ServerIdentity | None = None) -> None:
        super().__init__(settings, identity=identity)
        self._buckets = BucketAdmin(settings.s3)
        trusted = trust(ca_pem=settings.s3.ca_pem) if settings.engines.exposed else None
        self._health = urllib3.PoolManager(timeout=urllib3.Timeout(total=_TIMEOUT_S), retries=False, maxsize=1, ssl_context=trusted)

    @property
    def url(self) -> str | None:
        """The web console."""
        return f"{'https' if self._settings.engines.exposed else 'http'}://{LOOPBACK}:{self._settings.s3.console_port}"

    @property
    def folder(self) -> Path:
        """The data. Also the working directory, because MinIO expands braces in a path argument."""
        return self._settings.home / "minio"

    @property
    def _password_file(self) -> Path:
        return self._settings.run_dir / "minio.password"

    def ports(self) -> tuple[PortUse, ...]:
        return tuple(use for use in pipeline_ports(self._settings) if use.name.startswith("MinIO"))

    def command(self) -> Sequence[str]:
        """Check MinIO's requirements on credentials, and return its command."""
        s3 = self._settings.s3
        _check_credentials(s3)
        require_own_cache(self._settings)
        program = minio_program(self._settings)
        if not program.is_file():
            message = f"MinIO is not built yet ({program} is missing); run `make setup` or `cryptoviz doctor --fix`"
            raise PreflightError(message, problems=[message])
        make_private(self.folder)
        write_private(self._password_file, s3.secret_key.get_secret_value())
        addresses = ["--address", host_port(self._settings.engines.bind, s3.port), "--console-address", f"{LOOPBACK}:{s3.console_port}"]
        # Without the option MinIO would look for certificates in the user's home directory.
        return [str(program), "server", "--anonymous", *addresses, "--certs-dir", str(self._write_certificates()), "."]

    def _write_certificates(self) -> Path:
        """The folder of MinIO's certificate and key; empty on loopback, where it serves without TLS."""
        folder = self._settings.run_dir / "minio-certs"
        make_private(folder)
        names = ("public.crt", "private.key", "CAs/ca.crt")
        if not self._settings.engines.exposed:
            for name in names:
                (folder / name).unlink(missing_ok=True)
            return folder
        identity = self.identity()
        for name, content in zip(names, (identity.certificate, identity.key, identity.authority), strict=True):
            if content:
                write_private(folder / name, content)
        return folder

    def ask(self) -> tuple[str, Mapping[str, float]]:
        try:
            answer = self._health.request("GET", f"{self._settings.s3.endpoint.rstrip('/')}/minio/health/live")
        except urllib3.exceptions.HTTPError as error:
            raise EngineUnavailable(f"MinIO does not answer: {reason(error)}", engine="object-store", address=self._settings.s3.endpoint) from error
        if answer.status != 200:
            raise EngineUnavailable(f"MinIO's health page returned {answer.status}", engine="object-store", address=self._settings.s3.endpoint)
        return self._buckets.ask()

    def prepare(self) -> None:
        self._buckets.ensure_buckets()

    def close(self) -> None:
        self._buckets.close()
        self._health.clear()

    def environment(self) -> dict[str, str]:
        """Contains the name of the password file; the password itself is in neither arguments nor environment."""
        s3 = self._settings.s3
        return child_environment(
            {
                "MINIO_ROOT_USER": s3.access_key,
                "MINIO_ROOT_PASSWORD_FILE": str(self._password_file),
                "MINIO_REGION": s3.region,
                "MINIO_UPDATE": "off",
                "MINIO_CALLHOME_ENABLE": "off",
                # Garbage may be this percentage of the heap. Of MinIO's heap, 190 MB at rest, most are buffers that it has never touched.
                "GOGC": "20",
            }
        )


def _is_passing(error: S3Error) -> bool:
    """Whether the service may answer otherwise later: it is starting, overloaded, out of space, or has another call for the same bucket."""
    return error.code == "OperationAborted" or (error.response.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.code != "NotImplemented")


def _check_credentials(s3: S3Settings) -> None:
    if len(s3.access_key) < 3:
        raise SettingsError("CRYPTOVIZ_S3__ACCESS_KEY is too short; MinIO requires at least 3 characters", setting="CRYPTOVIZ_S3__ACCESS_KEY")
    if len(require_password(s3.secret_key, "CRYPTOVIZ_S3__SECRET_KEY")) < 8:
        raise SettingsError("CRYPTOVIZ_S3__SECRET_KEY is too short; MinIO requires at least 8 characters", setting="CRYPTOVIZ_S3__SECRET_KEY")
