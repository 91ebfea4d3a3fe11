"""Rules: what they wait for, what cannot be one, and when a rule is another one."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import Actor, Department, Message, rule
from peaceriver.rule import FAILED, Subscription, exceptions


class Parcel(Actor):
    weight: Decimal


class Weigh(Message[Parcel], action="modify"):
    weight: Decimal


post = Department(100, "Post")


def silent(event: Any) -> None:
    return None


def subscription(on: Any) -> Subscription:
    return rule(on=on, at=post)(silent).on


# --- what a rule waits for


@pytest.mark.parametrize(
    ("on", "text"),
    [
        (Parcel.created, "Parcel.create"),
        (Parcel.modified, "Parcel.modify"),
        (Parcel.cancelled, "Parcel.cancel"),
        (Weigh, "Parcel.Weigh"),
        (exceptions(Parcel), "Parcel.failed"),
        (exceptions("Crate"), "Crate.failed"),
        (exceptions(), "*.failed"),
        ("Crate.create", "Crate.create"),
        ("Crate.Seal it well", "Crate.Seal it well"),
    ],
)
def test_what_a_rule_waits_for_is_written_as_a_text_that_can_be_read_again(on: Any, text: str) -> None:
    assert str(subscription(on)) == text
    assert Subscription.parse(text) == subscription(on)


types = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
whats = st.one_of(
    st.sampled_from(["create", "modify", "cancel", FAILED]), st.from_regex(r"[^\x00-\x1f\x7f]{1,9}", fullmatch=True)
)


@given(actor_type=types, what=whats)
def test_every_subscription_survives_its_text(actor_type: str, what: str) -> None:
    wanted = Subscription(actor_type=actor_type, what=what)
    assert Subscription.parse(str(wanted)) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "Parcel", "Parcel.", "Parcel.created", ".create", "*.create", "*", "9.create", "Par cel.create", "P.\n"],
)
def test_a_text_that_names_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no event"):
        Subscription.parse(text)


@pytest.mark.parametrize("on", [Parcel, 7, None, post, ("Parcel.create",)])
def test_what_is_no_event_is_refused(on: Any) -> None:
    with pytest.raises(ValueError, match="is no event"):
        subscription(on)


@pytest.mark.parametrize(
    ("on", "record", "covered"),
    [
        ("Parcel.create", ("Parcel", "create", "Parcel.create"), True),
        ("Parcel.create", ("Parcel", "create", "Post it"), True),
        ("Parcel.create", ("Parcel", "modify", "Parcel.modify"), False),
        ("Parcel.create", ("Crate", "create", "Crate.create"), False),
        ("Parcel.Weigh", ("Parcel", "modify", "Weigh"), True),
        ("Parcel.Weigh", ("Parcel", "modify", "Parcel.modify"), False),
        ("Parcel.failed", ("Parcel", "modify", "Weigh"), True),
        ("Parcel.failed", ("Crate", "modify", "Weigh"), False),
        ("*.failed", ("Crate", "modify", "Weigh"), True),
    ],
)
def test_a_subscription_covers_its_type_and_its_action_or_message(
    on: str, record: tuple[str, str, str], covered: bool
) -> None:
    assert Subscription.parse(on).covers(*record) is covered


def test_rules_wait_for_received_records_or_for_exceptions() -> None:
    assert subscription(Parcel.created).kind == "received"
    assert subscription(exceptions(Parcel)).kind == "exception"


# --- what a rule is called and says of itself


def test_a_rule_has_its_functions_name_unless_it_is_given_one() -> None:
    assert rule(on=Parcel.created, at=post)(silent).name == "silent"
    assert rule(on=Parcel.created, at=post, name="quiet")(silent).name == "quiet"


def test_one_function_can_serve_several_departments() -> None:
    first = rule(on=Parcel.created, at=post)(silent)
    second = rule(on=Parcel.created, at=110, name="silent_at_110")(first)
    assert (first.name, first.at) == ("silent", 100)
    assert (second.name, second.at) == ("silent_at_110", 110)
    assert first.digest == second.digest


def test_a_rule_that_is_made_of_another_keeps_its_name() -> None:
    first = rule(on=Parcel.created, at=post, name="given")(silent)
    assert rule(on=Parcel.modified, at=post)(first).name == "given"


def test_a_rules_page_says_where_it_stands_and_which_code_it_is() -> None:
    made = rule(on=Weigh, at=post, start=7)(silent)
    assert made.page() == {"at": 100, "on": "Parcel.Weigh", "kind": "follow-up", "from": 7, "digest": made.digest}


def test_a_rule_can_be_called_as_the_function_that_it_was() -> None:
    def twice(event: Any) -> Any:
        return event * 2

    assert rule(on=Parcel.created, at=post, when=lambda event: False)(twice)(4) == 8


@pytest.mark.parametrize("name", ["<lambda>", "", "a b", "1st", "ä", "x" * 64, "a:b", "a/b"])
def test_a_name_that_would_not_fit_a_mark_is_refused(name: str) -> None:
    def nameless(event: Any) -> None:
        return None

    nameless.__name__ = name
    with pytest.raises(ValueError, match="cannot be a rule's name"):
        rule(on=Parcel.created, at=post)(nameless)


@pytest.mark.parametrize("start", [-1, "soon", "now ", ""])
def test_a_start_that_is_no_place_is_refused(start: Any) -> None:
    with pytest.raises(ValueError, match="is no start"):
        rule(on=Parcel.created, at=post, start=start)


def test_a_validation_of_exceptions_is_refused() -> None:
    with pytest.raises(ValueError, match="exceptions are records already"):
        rule(on=exceptions(Parcel), at=post, kind="validation")


def test_what_is_no_python_function_is_refused() -> None:
    with pytest.raises(ValueError, match="is no function written in Python"):
        rule(on=Parcel.created, at=post, name="half")(functools.partial(silent))
    with pytest.raises(ValueError, match="is no function written in Python"):
        rule(on=Parcel.created, at=post, when=bool)(silent)


# --- which code a rule is


Written = Callable[..., ModuleType]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Make a module of a source, as an application's file is one."""
    numbers = itertools.count()

    def make(source: str) -> ModuleType:
        path = tmp_path / f"application_{next(numbers)}.py"
        path.write_text("from peaceriver import rule\n" + dedent(source))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


PLAIN = """
@rule(on="Parcel.create", at=100, when=lambda event: event.document["weight"] > 10)
def heavy(event):
    yield event.id + "x"
"""


def digest(written: Written, source: str, name: str = "heavy") -> str:
    found: str = getattr(written(source), name).digest
    return found


@pytest.mark.parametrize(
    "same",
    [
        PLAIN,
        # a comment, another layout, a docstring
        """
@rule(
    on="Parcel.create",
    at=100,
    when=lambda event: event.document['weight']>10,  # above ten
)
def heavy(event):
    '''Tell of what is heavy.'''
    # nothing else

    yield (event.id
           + "x")
""",
        # what decorators say stands on the page
        """
@rule(on="Parcel.Weigh", at=110, when=lambda event: event.document["weight"] > 10, start="start")
def heavy(event):
    yield event.id + "x"
""",
        # indented
        """
if True:
    @rule(on="Parcel.create", at=100, when=lambda event: event.document["weight"] > 10)
    def heavy(event):
        yield event.id + "x"
""",
    ],
    ids=["again", "layout", "decorator", "indented"],
)
def test_what_changes_nothing_leaves_a_rule_as_it_was(written: Written, same: str) -> None:
    assert digest(written, same) == digest(written, PLAIN)


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace('"x"', '"y"'),
        PLAIN.replace("> 10", "> 11"),
        PLAIN.replace("> 10", ">= 10"),
        PLAIN.replace("yield", "return"),
        PLAIN.replace(', when=lambda event: event.document["weight"] > 10', ""),
    ],
    ids=["text", "number", "comparison", "statement", "condition"],
)
def test_what_changes_what_it_does_makes_another_rule(written: Written, other: str) -> None:
    assert digest(written, other) != digest(written, PLAIN)


def test_action_and_condition_are_not_taken_for_each_other(written: Written) -> None:
    module = written(
        """
        def one(event):
            return True
        def other(event):
            return False
        first = rule(on="Parcel.create", at=100, when=other, name="first")(one)
        second = rule(on="Parcel.create", at=100, when=one, name="second")(other)
        """
    )
    assert module.first.digest != module.second.digest


LAMBDA = 'short = rule(on="Parcel.create", at=100, name="short")(lambda event: event.id)\n'


def test_a_lambda_is_the_same_wherever_it_stands(written: Written) -> None:
    assert digest(written, LAMBDA, "short") == digest(written, "x = 1\n\n\n" + LAMBDA, "short")
    spread = LAMBDA.replace("(lambda event: event.id)", "(\n    lambda event: event.id  # its id\n)")
    assert digest(written, LAMBDA, "short") == digest(written, spread, "short")


def test_another_lambda_is_another_rule(written: Written) -> None:
    assert digest(written, LAMBDA, "short") != digest(written, LAMBDA.replace("event.id", "event.actor"), "short")


def test_a_change_in_either_of_two_lambdas_on_one_line_is_seen(written: Written) -> None:
    both = 'first = rule(on="P.create", at=100, name="first", when=lambda event: 1)(lambda event: event.id)\n'
    original = digest(written, both, "first")
    assert digest(written, both.replace("event: 1", "event: 2"), "first") != original
    assert digest(written, both.replace("event.id", "event.actor"), "first") != original


def test_code_without_a_source_is_told_apart_by_what_it_is_compiled_to() -> None:
    def made(text: str) -> str:
        names: dict[str, Any] = {"rule": rule}
        exec(compile(dedent(text), "<nowhere>", "exec"), names)
        found: str = names["heavy"].digest
        return found

    assert made(PLAIN) == made(PLAIN + "\n# a comment")
    assert made(PLAIN) != made(PLAIN.replace('"x"', '"y"'))
    assert made(PLAIN) != made(PLAIN.replace("> 10", "> 11"))
