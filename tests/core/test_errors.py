"""Errors and the problems of a data set."""

from __future__ import annotations

import inspect

import pytest

from comface_bench.core import errors
from comface_bench.core.errors import (
    BenchError,
    DataFormatError,
    DataMissingError,
    SplitError,
    UnitError,
    UnknownNameError,
    UsageError,
)
from comface_bench.core.problems import DataProblemsError, Problem, ProblemList

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_message_and_hint_are_kept_apart_and_shown_together():
    error = UsageError("what is wrong", "what to type")
    assert (error.message, error.hint) == ("what is wrong", "what to type")
    assert str(error) == "what is wrong\nwhat to type"
    assert str(UsageError("what is wrong")) == "what is wrong"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_a_failed_unit_exits_with_1(kind):
    assert issubclass(kind, BenchError)
    assert kind("x").exit_status == (1 if kind is UnitError else 2)


def test_names_nobody_knows_are_a_matter_of_usage():
    assert issubclass(UnknownNameError, UsageError)


def test_nothing_wrong_raises_nothing():
    ProblemList().raise_any()


def test_one_problem_reads_like_any_error():
    problems = ProblemList()
    problems.add("a.csv:3", "no number", "Write one.")
    with pytest.raises(DataFormatError) as caught:
        problems.raise_any()
    assert caught.value.message == "a.csv:3: no number"
    assert caught.value.hint == "Write one."
    assert caught.value.exit_status == 2


def test_of_many_the_first_is_reported_and_the_others_are_counted():
    problems = ProblemList()
    for line in range(3):
        problems.add(f"a.csv:{line}", "no number", f"Write {line}.")
    with pytest.raises(DataProblemsError) as caught:
        problems.raise_any()
    assert caught.value.message.startswith("a.csv:0: no number\nand 2 more; list them all: ")
    assert caught.value.hint == "Write 0."
    assert [problem.where for problem in caught.value.problems] == ["a.csv:0", "a.csv:1", "a.csv:2"]


def test_collecting_goes_on_behind_an_error():
    problems, inner = ProblemList(), ProblemList()
    inner.add("b", "one")
    inner.add("c", "two")
    with problems.collect():
        inner.raise_any()
    with problems.collect():
        raise SplitError("three", "Do this.")
    assert problems.found == (Problem("b", "one"), Problem("c", "two"), Problem("", "three", "Do this."))
    assert [str(problem) for problem in problems.found] == ["b: one", "c: two", "three"]
    assert len(problems) == 3


def test_missing_data_and_faults_of_the_code_are_passed_on():
    for error in (DataMissingError("not there"), KeyError("x")):
        with pytest.raises(type(error)), ProblemList().collect():
            raise error
