"""Errors: typed attributes, whole behind a pickle, without secrets."""

from __future__ import annotations

import copy as copying
import pickle
import traceback
from collections import OrderedDict, deque
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

import control.operations.manager
import cryptoviz.kafka.transactions
import cryptoviz.lake.conditional_object
import market.faultbook
import spark_jobs.tables.lease
from cryptoviz.errors import CryptoVizError, EngineUnavailable, ProviderFailure, ProviderUnavailable, TerminalError, TransientError
from cryptoviz.masking import MASK, hide
from cryptoviz.records import FallbackReason

assert all((control.operations.manager, cryptoviz.kafka.transactions, cryptoviz.lake.conditional_object, market.faultbook, spark_jobs.tables.lease))
VALUES: dict[str, Any] = {
    "str": "text", "int": 7, "bool": True, "int | None": 7, "int | str | None": "text", "float | None": 1.5, "FallbackReason": FallbackReason.QUOTA,
    "tuple[str, ...]": ("a", "b"), "Sequence[str]": ["a", "b"], "Sequence[tuple[str, str]]": [("a", "b")],
}  # fmt: skip


def below(cls: type[CryptoVizError]) -> list[type[CryptoVizError]]:
    """The class and all classes below it; not those that Ray derives for errors of tasks (other tests of this process)."""
    children = [child for child in cls.__subclasses__() if not child.__module__.startswith("ray.")]
    return [cls, *(each for child in children for each in below(child))]


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


SECRET = "canary-of-the-errors"


def shown(error: BaseException) -> str:
    return repr(error) + str(error) + repr(vars(error)) + repr(error.args) + "".join(traceback.format_exception(error))


def test_secrets_that_the_process_knows_are_in_no_fact() -> None:
    hide([SECRET])
    error = EngineUnavailable(f"with {SECRET}", address=f"redis://:{SECRET}@127.0.0.1")
    assert SECRET not in shown(error)


class Odd:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def nested(depth: int) -> list[Any]:
    value: Any = SECRET
    for _ in range(depth):
        value = [value]
    assert isinstance(value, list)
    return value


def circle() -> list[Any]:
    value: list[Any] = [SECRET]
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({SECRET, 1}, {MASK, 1}),
        (frozenset([(SECRET,)]), frozenset([(MASK,)])),
        (f"\u00e9 {SECRET}".encode() + b"\xff", f"\u00e9 {MASK}".encode() + b"\xff"),
        (bytearray(SECRET.encode()), bytearray(MASK.encode())),
        ({"a": [{SECRET: ({SECRET}, SECRET.encode())}]}, {"a": [{MASK: ({MASK}, MASK.encode())}]}),
        (OrderedDict(a=SECRET), f"OrderedDict([('a', '{MASK}')])"),
        (deque([SECRET]), f"deque(['{MASK}'])"),
        (OSError(5, SECRET), f"OSError(5, '{MASK}')"),
        (Path("/", SECRET), f"PosixPath('/{MASK}')"),
        (OrderedDict(a=1), OrderedDict(a=1)),
        (FallbackReason.QUOTA, FallbackReason.QUOTA),
        (Odd(), "<Odd>"),
    ],
)
def test_secrets_are_in_no_kind_of_value(value: Any, left: Any) -> None:
    hide([SECRET])
    error = EngineUnavailable("no answer", engine=value)
    assert error.engine == left
    assert type(error.engine) is type(left)


@pytest.mark.parametrize("value", [nested(50), nested(100_000), circle()], ids=["nested", "nested deeper than a call", "circle"])
def test_a_value_of_any_depth_is_searched(value: Any) -> None:
    hide([SECRET])
    assert SECRET not in str(vars(EngineUnavailable("no answer", engine=value)))


def test_secrets_that_are_added_later_are_masked() -> None:
    hide([SECRET])
    error = EngineUnavailable("no answer")
    error.message = f"not {SECRET}"
    error.address = SECRET
    error.args = (SECRET,)
    error.add_note(f"tried {SECRET}")
    error.add_note("tried again")
    assert SECRET not in shown(error)
    assert error.__notes__ == [f"tried {MASK}", "tried again"]


def test_a_message_that_is_no_text_becomes_one() -> None:
    hide([SECRET])
    assert str(EngineUnavailable(OSError("no route"))) == "no route"  # type: ignore[arg-type]
    assert SECRET not in shown(EngineUnavailable(OSError(SECRET)))  # type: ignore[arg-type]


def test_a_secret_that_only_the_receiving_process_knows_is_removed() -> None:
    sent = pickle.dumps(EngineUnavailable(f"with {SECRET}", address=SECRET))
    hide([SECRET])
    received = pickle.loads(sent)
    assert SECRET not in shown(received)
    assert (received.args, received.address) == ((f"with {MASK}",), MASK)


class Own(ProviderUnavailable):
    """An error of another package, with a constructor of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", provider="acme")
        self.code = code


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_an_error_of_another_package_is_whole_behind_a_pickle(library: Any) -> None:
    error = Own(7)
    error.add_note("the third of three tries")
    for copy in (library.loads(library.dumps(error)), copying.copy(error), copying.deepcopy(error), error.with_texts(str)):
        assert type(copy) is Own
        assert (copy.code, copy.provider, str(copy), copy.args) == (7, "acme", "code 7", ("code 7",))
        assert copy.__notes__ == ["the third of three tries"]
    other = error.with_message("something else")
    assert (other.code, str(other), other.args, str(error)) == (7, "something else", ("something else",), "code 7")


def test_the_cause_of_an_error_stays_what_it_is() -> None:
    hide([SECRET])
    cause, error = OSError(SECRET), EngineUnavailable("no answer")
    with pytest.raises(EngineUnavailable) as raised:
        raise error from cause
    assert raised.value.__cause__ is cause
    error.__cause__ = error.__context__ = cause
    assert error.__cause__ is error.__context__ is cause
    assert error.with_traceback(raised.tb).__traceback__ is raised.tb
