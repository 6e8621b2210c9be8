"""Who is admitted, with which role, and for how long."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cryptoviz.security.tokens import Role, TokenFile, new_token
from cryptoviz.settings import Settings, load_settings
from dashboard.access.failed_sign_ins import FailedSignIns
from dashboard.access.visitors import SIGNED_IN_S, Visitors
from tests.support.clock import FakeClock

OWNERS_TOKEN = "ab" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def a_home(tmp_path: Path, **dashboard: Any) -> Settings:
    settings = load_settings("demo", home=tmp_path, dashboard=dashboard)
    settings.token_file.write_text(f"{OWNERS_TOKEN}\n")
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return a_home(tmp_path)


def test_the_owners_processes_need_no_token_on_loopback_alone(tmp_path: Path, clock: FakeClock) -> None:
    def admits(**dashboard: Any) -> bool:
        return Visitors(a_home(tmp_path, **dashboard), clock).owner(os.getuid()) is not None

    assert admits()
    assert admits(host="::1", allow_origins=("localhost:8080", "http://127.0.0.1:1", "[::1]:5", "localhost"))
    assert not admits(host="0.0.0.0")
    assert not admits(host="192.0.2.1")
    # A public name is that of a proxy, which may run as the same user.
    assert not admits(allow_origins=("localhost:8080", "prices.example.org"))
    assert not admits(allow_origins=("localhost.example.org:80",))
    for uid in (None, os.getuid() + 1):
        assert Visitors(a_home(tmp_path), clock).owner(uid) is None


def test_a_token_gives_a_cookie_of_its_role(settings: Settings, clock: FakeClock) -> None:
    visitors, tokens = Visitors(settings, clock), TokenFile(settings.home)
    for name, role, token in (
        ("owner", Role.OPERATE, OWNERS_TOKEN),
        ("grafana", Role.READ, tokens.add("grafana", Role.READ, 0)),
        ("ops", Role.OPERATE, tokens.add("ops", Role.OPERATE, 0)),
    ):
        visitor = visitors.sign_in(token)
        assert visitor is not None
        assert (visitor.name, visitor.role, visitor.operates) == (name, role, role is Role.OPERATE)
        # Also for the process that runs after a restart.
        assert Visitors(settings, clock).by_cookie(visitor.cookie) == visitor
        assert token not in str(visitor.cookie)


@pytest.mark.parametrize(
    "token",
    ["", "wrong", new_token(), OWNERS_TOKEN[:-1], f"{OWNERS_TOKEN} ", "\udcff", "x" * 100_000],
    ids=["empty", "a word", "unknown", "cut", "with a space", "no text", "long"],
)
def test_a_wrong_token_gives_nothing(settings: Settings, clock: FakeClock, token: str) -> None:
    assert Visitors(settings, clock).sign_in(token) is None


def test_an_empty_file_of_the_owner_is_no_empty_password(settings: Settings, clock: FakeClock) -> None:
    settings.token_file.write_text("")
    assert Visitors(settings, clock).sign_in("") is None
    settings.token_file.unlink()
    assert Visitors(settings, clock).sign_in("") is None


def test_a_cookie_ends_with_its_time_its_token_and_its_signing_out(settings: Settings, clock: FakeClock) -> None:
    visitors, tokens = Visitors(settings, clock), TokenFile(settings.home)

    def sign_in(token: str) -> str:
        visitor = visitors.sign_in(token)
        assert visitor is not None
        return str(visitor.cookie)

    revoked, rotated = sign_in(tokens.add("a", Role.READ, 0)), sign_in(tokens.add("b", Role.READ, 0))
    kept, ended = sign_in(tokens.add("c", Role.READ, 0)), sign_in(OWNERS_TOKEN)
    for cookie in (revoked, rotated, kept, ended):
        assert visitors.by_cookie(cookie) is not None
    reader = visitors.by_cookie(revoked)
    owner = visitors.by_cookie(ended)
    assert reader is not None
    assert owner is not None
    tokens.revoke("a")
    tokens.rotate("b", 0)
    visitors.sign_out(owner)
    assert [visitors.by_cookie(each) is not None for each in (revoked, rotated, kept, ended)] == [False, False, True, False]
    assert not visitors.still(reader)
    tokens.add("a", Role.OPERATE, 0)  # another token of the same name
    assert visitors.by_cookie(revoked) is None
    clock.advance(SIGNED_IN_S)
    assert visitors.by_cookie(kept) is None


def test_no_changed_cookie_is_taken(settings: Settings, clock: FakeClock) -> None:
    visitors = Visitors(settings, clock)
    TokenFile(settings.home).add("ops", Role.OPERATE, 0)
    signed = visitors.sign_in(OWNERS_TOKEN)
    assert signed is not None
    cookie = str(signed.cookie)
    name, until, signature = cookie.split(":")
    forged = [
        f"ops:{until}:{signature}", f"{name}:{int(until) + 1}:{signature}", f"{name}:{until}:{'0' * 64}", f"{name}:{until}:", f"{name}:{until}",
        cookie.upper(), f"{cookie}0", f" {cookie}", "", "::", f"{name}:{'9' * 16}:{signature}",
    ]  # fmt: skip
    assert [each for each in forged if visitors.by_cookie(each) is not None] == []
    assert visitors.by_cookie(None) is None


def test_the_key_is_for_the_owner_alone_and_another_one_ends_all_cookies(settings: Settings, clock: FakeClock) -> None:
    visitors = Visitors(settings, clock)
    signed = visitors.sign_in(OWNERS_TOKEN)
    assert signed is not None
    key = settings.home / "control" / "dashboard.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    assert visitors.by_cookie(signed.cookie) is None


def test_wrong_tokens_are_limited_by_address_in_a_bounded_table() -> None:
    failed = FailedSignIns()
    for second in range(10):
        assert failed.wait_s("192.0.2.1", second) == 0
        failed.note("192.0.2.1", second)
    assert failed.wait_s("192.0.2.1", 10) == 50
    assert failed.wait_s("192.0.2.2", 10) == 0
    assert failed.wait_s("192.0.2.1", 60) == 0
    for number in range(5000):
        failed.note(f"address {number}", 10)
    assert len(failed) <= 1024
