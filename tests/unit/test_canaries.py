"""The search for secrets finds them in every form and container."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, SecretStr

from cryptoviz.settings import RedisSettings
from tests.support.canaries import Look, places_of, secret_fields

SECRET = 'canary"k/e\\y%<77a0>&b1f2-91e4'
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": lambda secret: repr({"key": secret}),
    "json": lambda secret: json.dumps({"key": secret}),
    "url": lambda secret: quote(secret, safe=""),
    "html": html.escape,
    "hex": lambda secret: secret.encode().hex(),
    "basic": lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
    "basic of another user": lambda secret: base64.b64encode(f"cryptoviz:{secret}\n".encode()).decode(),
    "its beginning": lambda secret: secret[:14],
    "its end": lambda secret: secret[-14:],
}


class Inner(BaseModel):
    key: SecretStr | None = None
    name: str = ""


class Tree(BaseModel):
    redis: RedisSettings
    many: dict[str, Inner] = {}


def found(raw: bytes) -> bool:
    look = Look({"canary": SECRET})
    look.at("text", [("here", raw)])
    assert look.outputs == {"text": 1}
    return look.found == {("text", "here"): {"canary"}}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_in_every_container(form: str) -> None:
    text = f"before {FORMS[form](SECRET)} after"
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"error": [text, None], "n": [1, 2]}), table, compression="zstd")
    assert found(text.encode())
    assert found(gzip.compress(text.encode()))
    assert found(table.getvalue().to_pybytes())
    assert not found(b"before nothing after")


def test_fields_that_can_hold_a_secret_are_found_by_type_and_by_value() -> None:
    assert set(secret_fields(Tree)) == {"redis.url", "redis.password", "many.key"}
    tree = Tree(redis=RedisSettings(url="redis://user:canary%401@h:1/0"), many={"one": Inner(), "two": Inner(key=SecretStr("canary-2"))})
    assert set(places_of(["canary@1", "canary-2"], tree)) == {"redis.url", "many.key"}
