"""The contract in proto/: documented methods, the style, and no breaking change against the last release."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[3]
BUF = str(Path(sys.executable).with_name("buf"))
LIST_GAPS = "rpc ListGaps(ListGapsRequest) returns (ListGapsResponse);"
DOCUMENTED = re.compile(r"\S.*\n(?:.*\n)*?Errors: \S.*\n(?:.*\n)*?Idempotent: (?:yes|no)\b.*\n", re.IGNORECASE)


def methods(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Full name and comment of each method of the contract."""
    image = tmp_path / "contract.binpb"
    files = [str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto").rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "--include_source_info", "--descriptor_set_out", str(image), *files]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                # Field 6 of a file: services; field 2 of a service: methods.
                yield f"{service.name}.{method.name}", comments[6, number, 2, index]


def test_every_method_says_its_errors_and_whether_it_is_idempotent(tmp_path: Path) -> None:
    found = dict(methods(tmp_path))
    assert len(found) >= 21
    for name, comment in found.items():
        text = "".join(line.removeprefix(" ") for line in comment.splitlines(keepends=True))
        assert DOCUMENTED.fullmatch(text), f"{name}: a comment is a purpose, a line `Errors: ..` and a line `Idempotent: yes|no ..`, not {text!r}"


@pytest.mark.parametrize(
    "comment", ["Does it.\n", "Does it.\nErrors: none.\n", "Errors: none.\nIdempotent: yes.\n", "Does it.\nErrors:\nIdempotent: yes.\n"]
)
def test_an_incomplete_comment_is_noticed(comment: str) -> None:
    assert not DOCUMENTED.fullmatch(comment)


def test_the_style_has_no_exceptions() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "proto" / "buf.yaml").read_text())
    assert config == {"version": "v2", "lint": {"use": ["STANDARD"]}, "breaking": {"use": ["FILE"]}}


def breaking(contract: Path) -> subprocess.CompletedProcess[str]:
    command = [BUF, "breaking", str(contract), "--against", str(ROOT / "proto_released")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def changed(tmp_path: Path, file: str, before: str, after: str) -> Path:
    """A copy of the contract with one change."""
    copy = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", copy)
    path = copy / "cryptoviz" / "control" / "v1" / file
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))
    return copy


def test_the_contract_breaks_nothing_of_the_last_release() -> None:
    done = breaking(ROOT / "proto")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        ("control.proto", "  uint32 restarts = 8;\n", "", 'field "8" with name "restarts" on message "Component" was deleted'),
        ("control.proto", "  uint32 restarts = 8;\n", "  string restarts = 8;\n", 'on message "Component" changed type from "uint32" to "string"'),
        ("operations.proto", "  uint32 attempt = 10;\n", "  uint32 attempt = 20;\n", 'with name "attempt" on message "Operation" was deleted'),
        ("gaps.proto", f"  {LIST_GAPS}\n", "", 'RPC "ListGaps" on service "GapsService" was deleted'),
        ("providers.proto", "  BREAKER_STATE_OPEN = 2;\n", "", 'enum value "2" on enum "BreakerState" was deleted'),
    ],
)  # fmt: skip
def test_a_breaking_change_is_refused(tmp_path: Path, file: str, before: str, after: str, message: str) -> None:
    done = breaking(changed(tmp_path, file, before, after))
    assert done.returncode == 100  # buf's code for findings
    assert message in done.stdout


def test_a_new_field_is_allowed(tmp_path: Path) -> None:
    done = breaking(changed(tmp_path, "control.proto", "  uint32 restarts = 8;\n", "  uint32 restarts = 8;\n  string zone = 99;\n"))
    assert (done.returncode, done.stdout) == (0, "")
