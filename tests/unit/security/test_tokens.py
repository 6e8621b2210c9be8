"""The file of the named tokens."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.security.tokens import MAX_TOKENS, NamedToken, Role, TokenFile


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path)


def test_only_a_hash_is_stored_for_the_owner_alone(file: TokenFile) -> None:
    token = file.add("grafana", Role.READ, 1_000)
    assert len(bytes.fromhex(token)) == 32  # 256 bits
    assert file.read() == (NamedToken("grafana", Role.READ, hashlib.sha256(token.encode()).hexdigest(), 1_000),)
    assert token not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in file.path.parent.iterdir()] == ["tokens.json"]


def test_a_token_is_rotated_and_revoked_by_its_name(file: TokenFile) -> None:
    first = file.add("b", Role.OPERATE, 1_000)
    file.add("a", Role.READ, 2_000)
    second = file.rotate("b", 3_000)
    assert second != first
    assert [(one.name, one.role, one.created_ms) for one in file.read()] == [("a", Role.READ, 2_000), ("b", Role.OPERATE, 3_000)]
    assert file.read()[1].sha256 == hashlib.sha256(second.encode()).hexdigest()
    file.revoke("a")
    assert [one.name for one in file.read()] == ["b"]


@pytest.mark.parametrize("name", ["owner", "", "A", "-a", "a b", "a/../b", "a\n", "x" * 33, "ä"])
def test_a_name_that_is_reserved_or_no_name_is_refused(file: TokenFile, name: str) -> None:
    with pytest.raises(SettingsError, match="valid are 1 to 32"):
        file.add(name, Role.READ, 1)
    assert file.read() == ()


def test_a_name_is_used_once_and_an_unknown_one_is_refused(file: TokenFile) -> None:
    file.add("a", Role.READ, 1)
    with pytest.raises(SettingsError, match="`cryptoviz tokens rotate a` replaces it"):
        file.add("a", Role.OPERATE, 1)
    for change in (lambda: file.revoke("b"), lambda: file.rotate("b", 1)):
        with pytest.raises(SettingsError, match="no token 'b'; the named tokens are: a"):
            change()
    assert [(one.name, one.role) for one in file.read()] == [("a", Role.READ)]


def test_commands_at_once_lose_no_token_and_none_exceeds_the_maximum(tmp_path: Path) -> None:
    refusals: list[str] = []

    def add(number: int) -> bool:
        try:
            TokenFile(tmp_path).add(f"t{number}", Role.READ, number)
        except SettingsError as error:
            refusals.append(error.message)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(MAX_TOKENS + 5))) == MAX_TOKENS
    assert len(TokenFile(tmp_path).read()) == MAX_TOKENS
    assert refusals == [f"there are {MAX_TOKENS} tokens, the maximum: revoke one first"] * 5


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"tokens": [1]}',
        '{"tokens": [{"name": "a"}]}',
        json.dumps({"tokens": [{"name": "a", "role": "admin", "sha256": "0" * 64, "created_ms": 1}]}),
        json.dumps({"tokens": [{"name": "a", "role": "read", "sha256": "", "created_ms": 1}]}),
        json.dumps({"tokens": [{"name": "a", "role": "read", "sha256": None, "created_ms": 1}]}),
    ],
)
def test_a_damaged_file_is_refused_and_not_overwritten(file: TokenFile, content: str) -> None:
    file.add("a", Role.READ, 1)
    file.path.write_text(content)
    for use in (file.read, lambda: file.add("b", Role.READ, 1), lambda: file.revoke("a")):
        with pytest.raises(SettingsError, match="is damaged"):
            use()
    assert file.path.read_text() == content


def test_a_file_that_others_may_read_is_refused(file: TokenFile) -> None:
    file.add("a", Role.READ, 1)
    file.path.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        file.read()


def test_operate_includes_read() -> None:
    assert [Role.OPERATE.permits(Role.READ), Role.OPERATE.permits(Role.OPERATE)] == [True, True]
    assert [Role.READ.permits(Role.READ), Role.READ.permits(Role.OPERATE)] == [True, False]
