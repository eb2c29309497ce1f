from __future__ import annotations

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError, SplitError
from comface_bench.core.problems import DataProblemsError, Problem, ProblemList


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


def test_of_many_the_first_is_told_and_the_others_are_counted():
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
