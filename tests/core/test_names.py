from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import (
    format_name,
    is_pattern,
    match_names,
    parse_name,
    split_list,
    unknown_name,
)

WORD = st.text(alphabet="abz019_-./:=", min_size=1, max_size=8)
KEY = st.text(alphabet="abz_09", min_size=1, max_size=8)


@given(WORD.filter(lambda word: "=" not in word), st.dictionaries(KEY, WORD, max_size=4))
def test_parse_is_the_inverse_of_format(base, options):
    assert parse_name(format_name(base, options)) == (base, options)


@given(st.dictionaries(KEY, WORD, min_size=2, max_size=4))
def test_format_does_not_depend_on_order(options):
    assert format_name("m", options) == format_name("m", dict(reversed(options.items())))


def test_format_sorts_keys():
    assert format_name("m", {"b": 1, "a": 2}) == "m+a=2+b=1"
    assert format_name("m", {}) == "m"


def test_a_value_may_hold_equals_signs():
    assert parse_name("m+checkpoint=a=b") == ("m", {"checkpoint": "a=b"})


@pytest.mark.parametrize("text", ["m+", "m+key", "m+key=", "m+=value", "m++a=b"])
def test_half_an_option_is_refused(text):
    with pytest.raises(UsageError, match="is no option"):
        parse_name(text)


def test_an_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="gives a twice"):
        parse_name("m+a=1+a=2")


@pytest.mark.parametrize(("text", "answer"), [("a*", True), ("a?", True), ("[ab]", True), ("a-b/c.d", False)])
def test_patterns_are_told_from_names(text, answer):
    assert is_pattern(text) is answer


def test_lists_are_split_in_order_without_repeats():
    assert split_list(["b, a", "a,c,", ""]) == ["b", "a", "c"]


def test_patterns_match_in_the_order_of_the_known_names():
    known = ["disfa-au1", "disfa-au12", "age", "disfa-au2"]
    assert match_names("disfa-au?", known, "task") == ["disfa-au1", "disfa-au2"]
    assert match_names("*-au1*", known, "task") == ["disfa-au1", "disfa-au12"]


def test_patterns_respect_case():
    with pytest.raises(UnknownNameError):
        match_names("AGE*", ["age"], "task")


def test_a_pattern_without_a_match_is_an_error():
    with pytest.raises(UnknownNameError, match=r"no task is called 'dsfa-\*'") as caught:
        match_names("dsfa-*", ["age"], "task")
    assert caught.value.hint == "See them all: comface-bench list tasks"


def test_near_names_are_offered_and_far_ones_are_not():
    assert "Did you mean imagenet?" in unknown_name("imagnet", ["imagenet", "swav"], "method").message
    assert "Did you mean" not in unknown_name("qqqq", ["imagenet", "swav"], "method").message
