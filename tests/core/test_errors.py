from __future__ import annotations

import inspect

import pytest

from comface_bench.core import errors
from comface_bench.core.errors import BenchError, UnitError, UnknownNameError, UsageError

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
