"""Answers to the creation of topics and buckets: those that a later attempt may not get are no reason to give the engine up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from confluent_kafka import KafkaError, KafkaException
from minio.error import S3Error

from cryptoviz.engines.object_store import BucketAdmin
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import EngineUnavailable, SettingsError
from cryptoviz.settings import load_settings


class Topics(TopicAdmin):
    """With a broker that has no topic and answers each creation with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(load_settings("live").kafka)
        self._answer = KafkaException(KafkaError(code, "no"))

    def _metadata(self, timeout_s: float) -> Any:
        return SimpleNamespace(topics={})

    def _admin(self) -> Any:
        def result(_: float) -> None:
            raise self._answer

        return SimpleNamespace(create_topics=lambda new, **_: {topic.topic: SimpleNamespace(result=result) for topic in new})


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError._TRANSPORT,
    ],
)
def test_a_broker_that_cannot_create_a_topic_now_is_asked_again(code: int) -> None:
    with pytest.raises(EngineUnavailable, match="cannot create topic"):
        Topics(code).ensure_topics({})


class Killed(TopicAdmin):
    """With a broker that is killed while `method` waits for its answer. `waits`: the time limits of the waits."""

    def __init__(self, method: str) -> None:
        super().__init__(load_settings("live").kafka, stopped=lambda: bool(self.waits))
        self._method = method
        self.waits: list[float] = []

    def _admin(self) -> Any:
        def list_topics(timeout: float) -> Any:
            if self._method == "list_topics":
                self.waits.append(timeout)
                raise KafkaException(KafkaError(KafkaError._TRANSPORT, "gone"))
            return SimpleNamespace(topics={}, brokers={1: "broker"})

        def result(timeout: float) -> None:
            self.waits.append(timeout)
            raise TimeoutError

        return SimpleNamespace(list_topics=list_topics, create_topics=lambda new, **_: {topic.topic: SimpleNamespace(result=result) for topic in new})


@pytest.mark.parametrize("method", ["list_topics", "create_topics"])
def test_a_killed_broker_is_not_waited_for(method: str) -> None:
    """For half a minute: the stop of Kafka would end the process of all engines, which does not answer for so long."""
    admin = Killed(method)
    with pytest.raises(EngineUnavailable):
        admin.ensure_topics({})
    assert admin.waits == [4.0]


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION, KafkaError.INVALID_CONFIG])
def test_a_broker_that_refuses_a_topic_needs_a_person(code: int) -> None:
    with pytest.raises(SettingsError, match="Create it yourself"):
        Topics(code).ensure_topics({})


class Buckets(BucketAdmin):
    """With an S3 service that has no bucket and answers each creation with an error."""

    def __init__(self, answer: Exception) -> None:
        super().__init__(load_settings("live", s3={"endpoint": "http://s:1"}).s3)
        self._answer = answer

    def _exists(self, bucket: str) -> bool:
        return False

    def _client(self) -> Any:
        def make_bucket(*_: object, **__: object) -> None:
            raise self._answer

        return SimpleNamespace(make_bucket=make_bucket)


def answered(status: int, code: str) -> S3Error:
    response: Any = SimpleNamespace(status=status)
    return S3Error(response=response, code=code, message="no", resource="r", request_id="1", host_id="h")


@pytest.mark.parametrize(
    "answer",
    [
        answered(503, "SlowDown"),
        answered(503, "SlowDownWrite"),
        answered(503, "XMinioServerNotInitialized"),
        answered(500, "InternalError"),
        answered(409, "OperationAborted"),
        urllib3.exceptions.HTTPError("timed out"),
        ConnectionResetError("reset"),
    ],
)
def test_a_store_that_cannot_make_a_bucket_now_is_asked_again(answer: Exception) -> None:
    with pytest.raises(EngineUnavailable, match=r"http://s:1 .*CRYPTOVIZ_S3__ENDPOINT"):
        Buckets(answer).ensure_buckets()


@pytest.mark.parametrize("answer", [answered(403, "AccessDenied"), answered(409, "BucketAlreadyExists"), answered(501, "NotImplemented")])
def test_a_store_that_refuses_a_bucket_needs_a_person(answer: Exception) -> None:
    with pytest.raises(SettingsError, match="create the bucket yourself"):
        Buckets(answer).ensure_buckets()


def test_a_bucket_that_another_has_just_made_is_there() -> None:
    Buckets(answered(409, "BucketAlreadyOwnedByYou")).ensure_buckets()
