"""compose.yaml: valid, and the ports, names and credentials that the documented `.env` expects."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cryptoviz.settings import load_settings
from tests.support.documents import ROOT

FILE = ROOT / "compose.yaml"
PAGE = ROOT / "docs" / "external-engines.md"
# Names and ports of the predecessor; its README has no address for MinIO's console, which shared port 9002.
PUBLISHED = {"redpanda": {19092: 19092}, "redpanda-console": {8090: 8080}, "minio": {9002: 9000, 9003: 9001}, "redis": {6379: 6379}}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def valid(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_file_fits_the_schema_of_the_compose_specification(tmp_path: Path) -> None:
    assert valid(FILE).returncode == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("    restart:", "    restarts:", 1))
    refused = valid(wrong)
    assert refused.returncode == 1
    assert "restarts" in refused.stdout


def test_names_and_ports_are_those_of_the_predecessor_on_loopback(services: dict[str, Any]) -> None:
    published: dict[str, dict[int, int]] = {}
    for name, service in services.items():
        assert service["container_name"] == name
        for port in service["ports"]:
            address, outside, inside = port.split(":")
            assert address == "127.0.0.1"
            published.setdefault(name, {})[int(outside)] = int(inside)
    assert published == PUBLISHED


def test_every_image_has_a_version(services: dict[str, Any]) -> None:
    for service in services.values():
        assert re.search(r":v?[0-9R][^:]*$", service["image"]), service["image"]


def test_the_documented_dotenv_means_these_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: dict[str, Any]) -> None:
    (example,) = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / ".env").write_text(example)
    (tmp_path / ".env").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    settings = load_settings(home=tmp_path / "home")
    assert {settings.kafka.embedded, settings.s3.embedded, settings.redis.embedded} == {False}
    ports = {
        "redpanda": int(settings.kafka.bootstrap_servers.rpartition(":")[2]), "minio": urlsplit(settings.s3.endpoint).port,
        "redis": urlsplit(settings.redis.url).port,
    }  # fmt: skip
    assert {name: next(iter(PUBLISHED[name])) for name in ports} == ports
    # Each variable without a default is in the example.
    required = set(re.findall(r"\$\{([A-Z_]+):\?", FILE.read_text()))
    assert required == {"CRYPTOVIZ_KAFKA__SASL_PASSWORD", "CRYPTOVIZ_REDIS__PASSWORD", "MINIO_ROOT_PASSWORD"}
    assert required <= {line.partition("=")[0] for line in example.splitlines()}
    user = services["redpanda"]["environment"]["RP_BOOTSTRAP_USER"]
    assert (user.partition(":")[0], user.rpartition(":")[2]) == (settings.kafka.sasl_username, settings.kafka.sasl_mechanism)
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == "choose-one"
