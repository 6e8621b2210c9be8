"""A page of another site in the same browser: requests that it can send to the ports of a running pipeline start, stop and change nothing.

The dashboard's rules (Host, Origin, frames) have separate tests.
"""

from __future__ import annotations

import json

import pytest
import redis

from tests.support.intruder import answer_of, http_answer
from tests.support.pipeline import Demo, secrets_of

pytestmark = [pytest.mark.integration]

_FOREIGN = {"Origin": "https://evil.example", "Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site"}


def spark(demo: Demo) -> tuple[str, int]:
    return ("127.0.0.1", demo.settings.lake.ui_port)


@pytest.mark.parametrize("path", ["/executors/threadDump/?executorId=driver", "/executors/heapHistogram/?executorId=driver"])
def test_no_get_makes_a_jvm_of_spark_work(demo: Demo, path: str) -> None:
    status, body = http_answer(spark(demo), path, headers=_FOREIGN)
    assert status in {302, 404} or b"java.lang.Thread" not in body


def test_sparks_pages_hold_no_secret_and_stand_in_no_frame_of_others(demo: Demo) -> None:
    secrets = secrets_of(demo.settings)
    for path in ("/jobs/", "/stages/", "/storage/", "/environment/", "/executors/", "/SQL/", "/StreamingQuery/"):
        status, body = http_answer(spark(demo), path)
        assert status == 200, path
        assert [secret for secret in secrets if secret.encode() in body] == []
    environment = http_answer(spark(demo), "/environment/")[1].decode()
    assert "spark.authenticate.secret" not in environment or "*********(redacted)" in environment


def test_rays_dashboard_does_nothing_for_a_page(demo: Demo) -> None:
    address = ("127.0.0.1", demo.settings.ray.dashboard_port)
    job = json.dumps({"entrypoint": "true"}).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        status, _ = http_answer(address, "/api/jobs/", "POST", _FOREIGN | {"Content-Type": content_type}, job)
        assert status in {401, 403, 405}, content_type
    assert http_answer(address, "/api/jobs/", headers=_FOREIGN | {"Host": "evil.example"})[0] in {401, 403}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_the_object_store_does_nothing_without_keys(demo: Demo, method: str) -> None:
    s3 = demo.settings.s3
    for path in ("/", f"/{s3.prices_bucket}", f"/{s3.prices_bucket}/_delta_log/00000000000000000000.json", f"/{s3.lake_bucket}?delete"):
        status, body = http_answer(
            ("127.0.0.1", s3.port), path, method, _FOREIGN | {"Content-Type": "text/plain"}, b"x" if method in {"POST", "PUT"} else None
        )
        assert status in {400, 403, 405, 411, 412}, (path, status, body)
    for path in ("/api/v1/buckets", "/api/v1/session", "/api/v1/users"):
        assert http_answer(("127.0.0.1", s3.console_port), path, method, _FOREIGN)[0] in {401, 403, 404, 405, 422}


def test_redis_runs_no_command_out_of_a_forms_body(demo: Demo) -> None:
    address = ("127.0.0.1", demo.settings.redis.port)
    client = redis.Redis.from_url(**demo.settings.redis.connection(60))
    client.set("cryptoviz-test:canary", "alive")
    body = b"\r\nFLUSHALL\r\nSET cryptoviz-test:canary dead\r\n"
    answer_of(address, b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert client.get("cryptoviz-test:canary") == b"alive"
    client.delete("cryptoviz-test:canary")
    client.close()


def test_kafka_and_the_control_service_speak_no_http_1(demo: Demo) -> None:
    for port in (demo.settings.kafka.port, demo.settings.kafka.controller_port, demo.settings.control.port):
        assert http_answer(("127.0.0.1", port), "/", "POST", _FOREIGN | {"Content-Type": "text/plain"}, b"x")[0] in {0, 400, 405, 415}
