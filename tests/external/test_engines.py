"""Each external engine: found healthy, its topics and buckets made, and refused with the setting's name if a credential is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryptoviz.engines.build import ENGINE_NAMES, build_engine
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.external_engines import ExternalServer, external_settings

pytestmark = [pytest.mark.external, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    made = claim_home(load_settings(home=tmp_path_factory.mktemp("external") / "home", **external_settings()))
    servers = [ExternalServer.of(name, made) for name in ENGINE_NAMES]
    try:
        for server in servers:
            server.start()
        yield made
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_the_engine_is_healthy_and_is_not_a_child(settings: Settings, name: str) -> None:
    engine = build_engine(name, settings)
    engine.start()
    probe = engine.probe()
    engine.stop()
    assert (probe.running, probe.healthy, engine.pid, engine.url) == (True, True, None, None)


@pytest.mark.parametrize(
    ("name", "section", "field"), [("kafka", "kafka", "sasl_password"), ("object-store", "s3", "secret_key"), ("redis", "redis", "password")]
)
def test_a_wrong_password_is_reported_and_not_shown(settings: Settings, tmp_path: Path, name: str, section: str, field: str) -> None:
    sections: dict[str, Any] = {
        "kafka": settings.kafka.access() | {"sasl_password": settings.kafka.sasl_password},
        "s3": {
            "endpoint": settings.s3.endpoint,
            "access_key": settings.s3.access_key,
            "secret_key": settings.s3.secret_key,
            "ca_file": settings.s3.ca_file,
        },
        "redis": {"url": settings.redis.url.partition("@")[0][:9] + settings.redis.url.partition("@")[2], "password": settings.redis.password},
    }
    sections[section] = sections[section] | {field: "wrong-password-of-a-test"}
    engine = build_engine(name, load_settings(home=tmp_path, **sections))
    probe = engine.probe()
    engine.stop()
    assert (probe.running, probe.healthy) == (True, False)
    assert "wrong-password" not in probe.message
    assert probe.message
