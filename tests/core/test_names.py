"""Names and their options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import (
    choose_names,
    differing,
    differing_task_options,
    divide_options,
    format_name,
    is_pattern,
    match_names,
    method_options,
    parse_name,
    parse_options,
    split_list,
    task_options,
    unknown_name,
)
from comface_bench.core.protocol import override_keys
from comface_bench.engine.protocols.training import Training

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
def test_patterns_are_distinguished_from_names(text, answer):
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
    with pytest.raises(UnknownNameError, match=r"no task matches 'dsfa-\*'") as caught:
        match_names("dsfa-*", ["age"], "task")
    assert caught.value.hint == "See them all: comface-bench list tasks"


def test_near_names_are_offered_and_far_ones_are_not():
    assert "Did you mean imagenet?" in unknown_name("imagnet", ["imagenet", "swav"], "method").message
    assert "Did you mean" not in unknown_name("qqqq", ["imagenet", "swav"], "method").message


@pytest.mark.parametrize("rest", ["m/faces.csv", "m.csv"])
def test_the_rest_of_a_path_with_a_comma_says_so(rest):
    hint = unknown_name(rest, ["age", "csv:FILE"], "task").hint
    assert hint.startswith("A file is named csv:FILE. A path in a name can't hold `,` or `+`")
    assert hint.endswith("list tasks")
    for kind, name, known in (("task", "agee", ["csv:FILE"]), ("method", "timm/x", ["timm/resnet50"])):
        assert unknown_name(name, known, kind).hint == f"See them all: comface-bench list {kind}s"


def test_a_path_with_a_plus_says_so():
    with pytest.raises(UsageError, match=r"'m/faces\.csv' is no option") as caught:
        parse_name("csv:k+m/faces.csv")
    assert "can't hold `,` or `+`" in caught.value.hint
    with pytest.raises(UsageError, match="is no option") as caught:
        parse_name("age+split")
    assert "path" not in caught.value.hint


CARD = MethodCard(
    name="m",
    version=1,
    build=":build",
    backbone="b",
    options={"backbone": ("resnet50", "resnet18"), "checkpoint": ()},
)
PLAIN = MethodCard(name="plain", version=1, build=":build", backbone="b")


def test_options_are_parsed():
    assert parse_options(["a=1", "checkpoint=x=y"]) == {"a": "1", "checkpoint": "x=y"}
    assert parse_options([]) == {}


@pytest.mark.parametrize("text", ["a", "a=", "=1", ""])
def test_half_options_are_refused(text):
    with pytest.raises(UsageError, match="expected key=value"):
        parse_options([text])


def test_repeated_options_are_refused():
    with pytest.raises(UsageError, match="-o gives a twice"):
        parse_options(["a=1", "a=1"])


def test_options_go_to_whom_they_belong():
    given = {"epochs": "3", "backbone": "resnet18", "split": "leave-one-out", "checkpoint": "f"}
    protocol, method, task = divide_options(given, override_keys(Training), [PLAIN, CARD])
    assert protocol == {"epochs": "3"}
    assert method == {"backbone": "resnet18", "checkpoint": "f"}
    assert task == {"split": "leave-one-out"}


def test_an_option_that_no_method_at_hand_takes_is_refused_with_all_that_are():
    with pytest.raises(UsageError, match="nothing takes 'backbone'") as caught:
        divide_options({"backbone": "resnet18"}, override_keys(Training), [PLAIN])
    for key in (*override_keys(Training), "split"):
        assert key in caught.value.hint
    assert "methods take preprocess\n" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("epoch", "epochs"), ("imagesize", "image_size"), ("backbon", "backbone"), ("splits", "split")],
)
def test_a_mistyped_key_is_answered_with_the_nearest_of_protocol_method_and_task(wrong, right):
    with pytest.raises(UsageError, match=rf"nothing takes '{wrong}'\. Did you mean {right}\b"):
        divide_options({wrong: "x"}, override_keys(Training), [CARD])


def test_a_mistyped_value_is_answered_with_the_nearest_where_values_are_listed():
    with pytest.raises(UsageError, match=r"backbone=resnet81 isn't one of .* Did you mean resnet18"):
        method_options(CARD, {"backbone": "resnet81"})
    with pytest.raises(UsageError, match=r"no option 'preproces'.* Did you mean preprocess\?"):
        method_options(CARD, {"preproces": "native"})


def test_no_shipped_method_option_hides_behind_one_of_the_protocol_or_task():
    from comface_bench.core.registry import method_registry

    for entry in method_registry(plugins=False).declared():
        assert not set(entry.card.options) & {*override_keys(Training), "split"}, entry.card.name


def test_method_options_are_completed_by_defaults():
    native = {"preprocess": "native"}
    assert method_options(CARD, {}) == {"backbone": "resnet50"} | native
    chosen = method_options(CARD, {"backbone": "resnet18", "checkpoint": "anything"})
    assert chosen == {"backbone": "resnet18", "checkpoint": "anything"} | native


def test_every_method_can_be_fed_as_imagenet_networks_are():
    assert method_options(PLAIN, {"preprocess": "imagenet"}) == {"preprocess": "imagenet"}
    assert differing(PLAIN, {"preprocess": "imagenet"}) == {"preprocess": "imagenet"}
    assert differing(PLAIN, {"preprocess": "native"}) == {}
    assert divide_options({"preprocess": "imagenet"}, override_keys(Training), [PLAIN])[1] == {
        "preprocess": "imagenet"
    }
    with pytest.raises(UsageError, match="preprocess=none isn't one of native, imagenet"):
        method_options(PLAIN, {"preprocess": "none"})


TASK = TaskCard(
    name="t",
    version=1,
    family="custom",
    data="D",
    read=":read",
    target="a",
    unit="u",
    label_range=(0, 1),
    metrics=("mae",),
    splits=("balanced-4", "mine"),
    options={"pairs": ("all", "some"), "target": ()},
)


def test_a_task_takes_split_and_its_own():
    assert task_options(TASK, {}) == {"split": "balanced-4", "pairs": "all"}
    chosen = task_options(TASK, {"split": "balanced-9", "target": "b", "pairs": "some"})
    assert chosen == {"split": "balanced-9", "target": "b", "pairs": "some"}
    assert differing_task_options(TASK, chosen) == chosen
    assert differing_task_options(TASK, task_options(TASK, {"target": "b"})) == {"target": "b"}
    assert divide_options({"target": "b", "split": "x"}, override_keys(Training), [], [TASK])[2] == {
        "target": "b",
        "split": "x",
    }
    with pytest.raises(
        UsageError, match="task t takes no option 'size'; it takes: allow, pairs, split, target"
    ):
        task_options(TASK, {"size": "1"})
    with pytest.raises(UsageError, match="pairs=none isn't one of all, some"):
        task_options(TASK, {"pairs": "none"})


def test_unknown_method_options_are_refused():
    with pytest.raises(
        UsageError, match="method m takes no option 'size'; it takes: backbone, checkpoint, preprocess"
    ):
        method_options(CARD, {"size": "1"})
    with pytest.raises(UsageError, match="it takes: preprocess"):
        method_options(PLAIN, {"size": "1"})


def test_values_that_are_not_accepted_are_refused():
    with pytest.raises(UsageError, match=r"backbone=vgg isn't one of resnet50, resnet18"):
        method_options(CARD, {"backbone": "vgg"})


def test_only_differing_options_are_part_of_a_name():
    assert differing(CARD, {"backbone": "resnet50"}) == {}
    chosen = {"backbone": "resnet18", "checkpoint": "f"}
    assert differing(CARD, chosen) == chosen


def test_names_of_records_are_chosen_in_their_order():
    known = ["age", "synth-au2", "synth-au12", "odd[1]"]
    assert choose_names(None, iter(known), "task") == known
    assert choose_names("synth-*,age", known, "task") == ["age", "synth-au2", "synth-au12"]
    assert choose_names(["synth-au12", "age"], known, "task") == ["age", "synth-au12"]
    assert choose_names("odd[1]", known, "task") == ["odd[1]"]
    for wanted in ("agee", "disfa-*", ["age", "agee"]):
        with pytest.raises(UnknownNameError, match=r"of no task called .*\nThey are of age, synth-au2"):
            choose_names(wanted, known, "task")
