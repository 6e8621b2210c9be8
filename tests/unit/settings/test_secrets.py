"""Keys, passwords and addresses in settings: stripping, refusal by name, and masking."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.local.shell import forget_options, leads_elsewhere, without_the_shell
from cryptoviz.settings import NetworkSettings, child_environment, load_settings
from cryptoviz.settings.origin import setting_sources
from tests.support.settings import forget_settings

SECRETS = {
    "COINGECKO_API_KEY": "CRYPTOVIZ_PROVIDERS__COINGECKO__API_KEY",
    "CRYPTOVIZ_PROVIDERS__KRAKEN__API_KEY": "CRYPTOVIZ_PROVIDERS__KRAKEN__API_KEY",
    "MINIO_ROOT_USER": "CRYPTOVIZ_S3__ACCESS_KEY",
    "MINIO_ROOT_PASSWORD": "CRYPTOVIZ_S3__SECRET_KEY",
    "CRYPTOVIZ_REDIS__PASSWORD": "CRYPTOVIZ_REDIS__PASSWORD",
    "CRYPTOVIZ_KAFKA__SASL_USERNAME": "CRYPTOVIZ_KAFKA__SASL_USERNAME",
    "CRYPTOVIZ_KAFKA__SASL_PASSWORD": "CRYPTOVIZ_KAFKA__SASL_PASSWORD",
    "CRYPTOVIZ_REDIS__URL": "CRYPTOVIZ_REDIS__URL",
    "CRYPTOVIZ_S3__ENDPOINT": "CRYPTOVIZ_S3__ENDPOINT",
    "CRYPTOVIZ_PROVIDERS__KRAKEN__BASE_URL": "CRYPTOVIZ_PROVIDERS__KRAKEN__BASE_URL",
    "CRYPTOVIZ_DOWNLOADS__MAVEN_URL": "CRYPTOVIZ_DOWNLOADS__MAVEN_URL",
    "CRYPTOVIZ_NETWORK__PROXY_URL": "CRYPTOVIZ_NETWORK__PROXY_URL",
}
VALUES = {name: "http://canary:secret@h:1" for name in SECRETS if name.endswith("_URL")} | {
    "CRYPTOVIZ_REDIS__URL": "redis://canary:secret@h:1",
    "CRYPTOVIZ_S3__ENDPOINT": "http://h:1",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path / "home"))


def shown_everywhere(name: str) -> str:
    settings = load_settings()
    section = SECRETS[name].removeprefix("CRYPTOVIZ_").lower().split("__")
    found: object = settings
    for part in section:
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    reveal = getattr(found, "get_secret_value", None)
    return str(reveal() if reveal else found)


@pytest.mark.parametrize("space", ["\r", "\n", "\r\n", " ", "\t", "\u00a0", "\ufeff"])
@pytest.mark.parametrize("name", SECRETS)
def test_white_space_at_the_ends_of_a_secret_is_cut(name: str, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = VALUES.get(name, "canary-secret")
    monkeypatch.setenv(name, f"{space}{value}{space}")
    if space == "\ufeff":  # no white space, and not visible
        with pytest.raises(SettingsError, match=SECRETS[name]):
            load_settings()
        return
    assert shown_everywhere(name) == value


@pytest.mark.parametrize("inside", ["\r", "\n", "\t", "\x7f", "\x1b", " ", "é", "\u200b", "\udce9"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_of_other_characters_is_refused_by_name_and_not_shown(name: str, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"http://u:canary{inside}secret@h:1" if name in VALUES else f"canary{inside}secret"
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.setting == SECRETS[name]
    assert SECRETS[name] in refused.value.message
    assert "secret@" not in refused.value.message
    assert "canary" not in refused.value.message
    assert ("is not UTF-8" if inside == "\udce9" else "visible ASCII") in refused.value.message


def test_a_dotenv_with_windows_line_ends_gives_the_keys_themselves(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"COINGECKO_API_KEY=CG-abc\r\nMINIO_ROOT_PASSWORD='pass-word-1 '\r\nCOINMARKETCAP_API_KEY=your-api-key-here\r\n")
    settings = load_settings()
    key = settings.provider("coingecko").api_key
    assert key is not None
    assert key.get_secret_value() == "CG-abc"
    assert settings.s3.secret_key.get_secret_value() == "pass-word-1"
    assert settings.provider("coinmarketcap").api_key is None


def test_no_repr_of_the_tree_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        if name not in ("MINIO_ROOT_USER", "CRYPTOVIZ_KAFKA__SASL_USERNAME"):
            monkeypatch.setenv(name, VALUES.get(name, "swordfish").replace("secret", "swordfish"))
    settings = load_settings()
    assert "swordfish" not in repr(settings) + str(settings)
    assert settings.secrets >= {"swordfish"}


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_shells_proxy_becomes_a_setting_that_says_where_it_came_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://user:pw@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,.inside.example,api.kraken.com")
    settings = load_settings()
    assert settings.network.proxy_for("https://api.coingecko.com/api/v3") == "http://user:pw@proxy.example:3128"
    assert settings.network.proxy_for("https://api.kraken.com/0") is None
    assert settings.network.proxy_for("https://x.inside.example/") is None
    assert setting_sources(settings)["network.proxy_url"] == f"environment: {name}"
    monkeypatch.setenv("CRYPTOVIZ_NETWORK__PROXY_URL", "http://ours.example:1")
    assert load_settings().network.proxy_for("https://api.coingecko.com") == "http://ours.example:1"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8999/coingecko", "http://localhost:1", "http://[::1]:1", "http://127.0.0.2:1"])
def test_this_machine_is_never_reached_through_a_proxy(url: str) -> None:
    assert NetworkSettings(proxy_url="http://proxy.example:1").proxy_for(url) is None


def test_a_shells_socks_proxy_is_left_and_one_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    assert load_settings().network.proxy_for("https://api.coingecko.com") is None
    monkeypatch.setenv("CRYPTOVIZ_NETWORK__PROXY_URL", "socks5://user:canary@proxy.example:1080")
    with pytest.raises(SettingsError, match="CRYPTOVIZ_NETWORK__PROXY_URL") as refused:
        load_settings()
    assert "canary" not in refused.value.message


def test_children_get_neither_proxies_nor_authorities_nor_options(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = (
        "https_proxy",
        "HTTPS_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "AWS_SESSION_TOKEN",
        "JAVA_TOOL_OPTIONS",
        "PYTHONPATH",
        "RAY_ADDRESS",
    )
    for name in taken:
        monkeypatch.setenv(name, "canary")
    assert not set(taken) & set(child_environment())
    assert "PATH" in child_environment()


def test_a_library_sees_no_variable_of_the_shell_and_the_user_has_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary")
    monkeypatch.setenv("TOKEN", "canary")
    monkeypatch.setenv("CRYPTOVIZ_S3__PORT", "9102")
    before, shown = dict(os.environ), seen_by_a_library()
    assert {"AWS_SESSION_TOKEN=canary", "TOKEN=canary"} <= shown

    def read_and_fail() -> None:
        with without_the_shell():
            with without_the_shell():
                assert not leading_elsewhere(seen_by_a_library())
            assert not leading_elsewhere(seen_by_a_library())
            assert "CRYPTOVIZ_S3__PORT=9102" in seen_by_a_library()
            assert load_settings().s3.port == 9102
            assert dict(os.environ) == before  # what Python code of other threads sees
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_and_fail()
    assert dict(os.environ) == before
    assert seen_by_a_library() == shown


def seen_by_a_library() -> set[str]:
    """The environment of the process, as C code and child processes see it."""
    return set(subprocess.run(["env", "-0"], capture_output=True, text=True, check=True).stdout.split("\0"))


def leading_elsewhere(entries: set[str]) -> list[str]:
    """Those that a library reads; hidden ones begin with an underscore."""
    return [entry for entry in entries if leads_elsewhere(entry.partition("=")[0]) and not entry.startswith("_")]


def test_variables_that_another_thread_changes_meanwhile_keep_the_new_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "old")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with without_the_shell():
        monkeypatch.setenv("AWS_SESSION_TOKEN", "new")
        monkeypatch.delenv("AWS_PROFILE")
        monkeypatch.setenv("AWS_REGION", "new")
    assert {"AWS_SESSION_TOKEN=new", "AWS_REGION=new"} <= seen_by_a_library()
    assert not {"AWS_SESSION_TOKEN=old", "AWS_PROFILE=old"} & seen_by_a_library()


READ_MEANWHILE = """
import ctypes, os, socket, ssl, threading
from cryptoviz.local.shell import without_the_shell

getenv, before, done, errors, reads = ctypes.CDLL(None).getenv, dict(os.environ), threading.Event(), [], []

def repeat(work):
    try:
        while not done.is_set():
            work()
            reads.append(1)
    except BaseException as error:
        errors.append(error)
        raise

def hide():
    for _ in range(2_000):
        with without_the_shell():
            pass

works = [os.environ.copy, lambda: list(os.environ.items()), lambda: socket.getaddrinfo("localhost", 80), ssl.create_default_context]
works += [lambda: [getenv(b"NO_SUCH_VARIABLE") for _ in range(100)]] * 2
readers = [threading.Thread(target=repeat, args=(work,)) for work in works]
hiders = [threading.Thread(target=hide) for _ in range(8)]
for thread in (*readers, *hiders):
    thread.start()
for thread in hiders:
    thread.join()
done.set()
for thread in readers:
    thread.join()
assert reads and not errors and dict(os.environ) == before, errors
"""


def test_threads_that_read_the_environment_meanwhile_neither_fail_nor_crash() -> None:
    shell = {
        name: f"/nowhere/{name}" * 20 for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "TOKEN", "https_proxy", "REQUESTS_CA_BUNDLE")
    }
    done = subprocess.run(
        [sys.executable, "-c", READ_MEANWHILE], env={**os.environ, **shell}, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_where_no_variable_leads_elsewhere_the_environment_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """C code of another thread may read it concurrently: changing it then has crashed processes."""
    for name in [name for name in os.environ if leads_elsewhere(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("COLUMNS", "80")
    changed: list[str] = []
    monkeypatch.setattr(os, "unsetenv", changed.append)
    monkeypatch.setattr(os, "putenv", lambda name, _: changed.append(name))
    with without_the_shell():
        assert os.environ["CI"] == "true"
    assert changed == []


def test_without_tls_the_authorities_of_the_shell_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell of Conda or Nix sets them: each read would change the environment, and crash the process sooner or later."""
    for name in [name for name in os.environ if leads_elsewhere(name)]:
        monkeypatch.delenv(name)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nowhere")
    changed: list[str] = []
    monkeypatch.setattr(os, "unsetenv", changed.append)
    monkeypatch.setattr(os, "putenv", lambda name, _: changed.append(name))
    with without_the_shell(authorities=False):
        assert os.environ["SSL_CERT_FILE"] == "/nowhere"
    assert changed == []


def test_our_own_program_forgets_options_for_good_and_keeps_proxies_for_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "SSL_CERT_FILE", "ENDPOINT_URL", "https_proxy"):
        monkeypatch.setenv(name, "http://canary.example")
    forget_options()
    assert [name for name, value in os.environ.items() if "canary" in value] == ["https_proxy"]
