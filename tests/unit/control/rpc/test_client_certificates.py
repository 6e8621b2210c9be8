"""Mutual TLS: with an authority for clients, only their certificates reach the service, and the token is still needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryptoviz.cli.main import app
from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused, EngineUnavailable, SettingsError
from cryptoviz.security.tokens import Role, TokenFile
from tests.support.certificates import authority, certificate
from tests.support.control_server import Serving, serving


@dataclass
class Mutual:
    served: Serving
    folder: Path
    roots: Path

    def client(self, certificate: Path | None, key: Path | None, token: str = "") -> ControlClient:
        return ControlClient(
            self.served.address, token=token or self.served.token, root_certificates=self.roots, client_certificate=certificate, client_key=key,
            timeout_s=60, retry=None,
        )  # fmt: skip


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutual]:
    folder = tmp_path_factory.mktemp("tls")
    clients = authority(folder, "clients")
    cert, key = certificate(folder, "server", authority(folder, "servers"))
    # Clients verify the service by `tls_cert`: the chain has its authority too.
    chain = folder / "chain.pem"
    chain.write_bytes(cert.read_bytes() + (folder / "servers.pem").read_bytes())
    own, own_key = certificate(folder, "owner", clients)
    with serving(folder / "home", tls_cert=chain, tls_key=key, tls_client_ca=clients, tls_client_cert=own, tls_client_key=own_key) as served:
        yield Mutual(served, folder, chain)


def test_the_settings_own_client_works_without_a_step(mutual: Mutual) -> None:
    with mutual.served.client(timeout_s=60) as client:
        assert len(client.list().components) == 4


def test_another_certificate_of_the_authority_works_with_a_token_only(mutual: Mutual) -> None:
    cert, key = certificate(mutual.folder, "grafana", mutual.folder / "clients.pem")
    with mutual.client(cert, key, TokenFile(mutual.served.settings.home).add("grafana", Role.READ, 1)) as viewer:
        assert len(viewer.list().components) == 4
        with pytest.raises(ControlRefused, match="PERMISSION_DENIED"):
            viewer.start("page")
    with mutual.client(cert, key, "0" * 64) as stranger, pytest.raises(ControlRefused, match="UNAUTHENTICATED"):
        stranger.list()


@pytest.mark.parametrize("signer", ["servers", "strangers", None])
def test_without_a_certificate_of_the_authority_the_token_is_not_even_seen(mutual: Mutual, signer: str | None) -> None:
    pair: tuple[Path | None, Path | None] = (None, None)
    if signer is not None:
        path = mutual.folder / f"{signer}.pem"
        pair = certificate(mutual.folder, f"of-{signer}", path if path.exists() else authority(mutual.folder, signer))
    with mutual.client(*pair) as client, pytest.raises(EngineUnavailable):
        client.list()


def test_the_command_line_presents_the_certificate_of_the_settings(mutual: Mutual, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = mutual.served.settings
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(settings.home))
    monkeypatch.setenv("CRYPTOVIZ_CONTROL__PORT", str(settings.control.port))
    for name in ("tls_cert", "tls_key", "tls_client_ca", "tls_client_cert", "tls_client_key"):
        monkeypatch.setenv(f"CRYPTOVIZ_CONTROL__{name.upper()}", str(getattr(settings.control, name)))
    shown = CliRunner().invoke(app, ["status"])
    assert (shown.exit_code, "page" in shown.output) == (0, True), shown.output
    assert CliRunner().invoke(app, ["operations"]).output.strip() == "No operations yet."


def test_a_key_that_cannot_be_read_is_named(mutual: Mutual) -> None:
    cert, missing = mutual.folder / "owner.pem", mutual.folder / "missing.key"
    with mutual.client(cert, missing) as client, pytest.raises(SettingsError, match=r"missing\.key: No such file") as refused:
        client.list()
    assert refused.value.setting == "CRYPTOVIZ_CONTROL__TLS_CLIENT_KEY"
