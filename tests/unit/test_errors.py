"""Errors: typed attributes, whole behind a pickle, without secrets."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import pytest

import control.operations.manager
import cryptoviz.kafka.transactions
import cryptoviz.lake.conditional_object
import market.faultbook
import spark_jobs.tables.lease
from cryptoviz.errors import CryptoVizError, EngineUnavailable, ProviderFailure, ProviderUnavailable, TerminalError, TransientError
from cryptoviz.masking import hide
from cryptoviz.records import FallbackReason

assert all((control.operations.manager, cryptoviz.kafka.transactions, cryptoviz.lake.conditional_object, market.faultbook, spark_jobs.tables.lease))
VALUES: dict[str, Any] = {
    "str": "text", "int": 7, "bool": True, "int | None": 7, "int | str | None": "text", "float | None": 1.5, "FallbackReason": FallbackReason.QUOTA,
    "tuple[str, ...]": ("a", "b"), "Sequence[str]": ["a", "b"], "Sequence[tuple[str, str]]": [("a", "b")],
}  # fmt: skip


def below(cls: type[CryptoVizError]) -> list[type[CryptoVizError]]:
    return [cls, *(each for child in cls.__subclasses__() for each in below(child))]


EVERY = sorted(set(below(CryptoVizError)), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", EVERY)
def test_an_error_is_whole_behind_a_pickle(cls: type[CryptoVizError]) -> None:
    facts = {each.name: VALUES[str(each.type)] for each in fields(cls)}
    error = cls(**facts)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert {each.name: getattr(copy, each.name) for each in fields(cls)} == facts
    assert str(copy) == copy.args[0] == "text"
    assert len(cls("only a message").args) == 1


@pytest.mark.parametrize("cls", [cls for cls in EVERY if cls not in (CryptoVizError, ProviderFailure)])
def test_an_error_is_transient_or_terminal(cls: type[CryptoVizError]) -> None:
    assert issubclass(cls, TransientError) != issubclass(cls, TerminalError)


def test_an_error_has_its_own_facts_and_no_others() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'adress'"):
        EngineUnavailable("no answer", adress="127.0.0.1:9092")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        EngineUnavailable("no answer").retry_after_s  # type: ignore[attr-defined]  # noqa: B018


def test_texts_of_an_error_are_cleaned_and_other_values_stay() -> None:
    error = ProviderUnavailable("key k-1", provider="acme k-1", reason=FallbackReason.RATE_LIMITED, retry_after_s=2.5, final=True)
    cleaned = error.with_texts(lambda text: text.replace("k-1", "***"))
    assert (cleaned.message, cleaned.provider, cleaned.reason, cleaned.retry_after_s, cleaned.final) == (
        "key ***", "acme ***", FallbackReason.RATE_LIMITED, 2.5, True,
    )  # fmt: skip
    assert type(cleaned.reason) is FallbackReason
    other = error.with_message("something else")
    assert (other.message, other.provider, other.retry_after_s) == ("something else", "acme k-1", 2.5)


def test_secrets_that_the_process_knows_are_in_no_fact() -> None:
    hide(["canary-of-the-errors"])
    error = EngineUnavailable("with canary-of-the-errors", address="redis://:canary-of-the-errors@127.0.0.1")
    assert "canary-of-the-errors" not in repr(error) + str(error) + repr(vars(error)) + repr(error.args)
