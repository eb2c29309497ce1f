from __future__ import annotations

import importlib.resources
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comface_bench.core.errors import SplitError
from comface_bench.data.splits import (
    PARTS,
    Fold,
    Split,
    balanced_split,
    leave_one_out_split,
    patient_split,
    read_split,
    rule_split,
    write_split,
)

SHIPPED = sorted((Path(str(importlib.resources.files("comface_bench.tasks"))) / "splits").glob("*.json"))
NAMES = {path.stem: path for path in SHIPPED}

# The 27 subjects of DISFA, gaps and all.
DISFA = [f"SN{number:03d}" for number in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))]
# Sanchez-Lozano, Action-Units-Heatmaps, issue 10: train / validation / test of each fold.
HEATMAP = [
    (
        "024,004,023,032,018,030,003,031,013,010,011,005",
        "012,025,017,002,016,021",
        "001,007,006,029,026,028,009,008,027",
    ),
    (
        "003,031,013,001,007,006,029,026,028,009,008,027",
        "024,004,023,032,018,030",
        "010,011,005,012,025,017,002,016,021",
    ),
    (
        "010,011,005,012,025,017,002,016,021,009,008,027",
        "001,007,006,029,026,028",
        "024,004,023,032,018,030,003,031,013",
    ),
]
# JAA-Net's parts; ME-GraphAU's fold 1 tests the third, fold 2 the second, fold 3 the first.
JAA_TESTS = [
    "003,004,005,007,008,017,023,025,029",
    "006,011,012,013,018,021,024,028,031",
    "001,002,009,010,016,026,027,030,032",
]
# Images of each of FG-NET's subjects 001 to 082, counted on the full set.
FGNET_IMAGES = [
    *(
        15,
        16,
        12,
        12,
        11,
        12,
        9,
        15,
        13,
        12,
        14,
        15,
        12,
        10,
        13,
        13,
        13,
        11,
        10,
        13,
        12,
        13,
        12,
        11,
        12,
        11,
        11,
    ),
    *(
        11,
        13,
        11,
        13,
        12,
        11,
        13,
        14,
        13,
        12,
        14,
        14,
        14,
        10,
        13,
        11,
        10,
        13,
        13,
        14,
        16,
        10,
        8,
        11,
        11,
        13,
        13,
    ),
    *(
        8,
        8,
        10,
        11,
        9,
        12,
        13,
        12,
        10,
        6,
        15,
        12,
        10,
        10,
        11,
        11,
        13,
        14,
        16,
        16,
        10,
        18,
        16,
        16,
        14,
        14,
        12,
        11,
    ),
]
FGNET_PAIRS = {f"{number:03d}": n * (n - 1) // 2 for number, n in enumerate(FGNET_IMAGES, start=1)}

WEIGHTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4), st.integers(50, 100), min_size=4, max_size=40
)


def names(text):
    return {f"SN{number}" for number in text.split(",")}


def fold(train="a", validation="b", test="c"):
    return Fold(tuple(train), tuple(validation), tuple(test))


def test_parts_of_a_fold():
    made = fold("ab", "c", "de")
    assert [made.subjects(part) for part in PARTS] == [("a", "b"), ("c",), ("d", "e")]


@pytest.mark.parametrize(
    ("folds", "reported"),
    [
        ([fold("a", "b", "ac")], "fold 0: a stand more than once"),
        ([fold("a", "a", "c")], "fold 0: a stand more than once"),
        ([fold("aa", "b", "c")], "fold 0: a stand more than once"),
        ([fold("a", "b", "c"), fold("bc", "b", "a")], "fold 1: b stand more than once"),
        ([fold("a", "", "c")], "fold 0: no subject in validation"),
        ([fold("", "b", "")], "fold 0: no subject in train, test"),
        ([fold("a", "b", "cd"), fold("b", "a", "c")], "fold 1 lacks d"),
    ],
)
def test_broken_folds_are_refused(folds, reported):
    with pytest.raises(SplitError, match=f"split s, {reported}"):
        Split("s", tuple(folds))


def test_the_digest_follows_parts_and_folds_and_not_the_order_within_a_part():
    one, two = fold("ab", "c", "d"), fold("cd", "a", "b")
    digest = Split("s", (one, two)).digest
    assert Split("other", (fold("ba", "c", "d"), two), "elsewhere").digest == digest
    others = [(two, one), (one,), (fold("ac", "b", "d"), two), (fold("d", "c", "ab"), two)]
    assert len({digest, *(Split("s", folds).digest for folds in others)}) == 5


def test_a_split_must_fit_its_data():
    split = Split("s", (fold("a", "b", "c"),))
    split.check(["c", "a", "b"], "d")
    with pytest.raises(SplitError, match="split s doesn't know subject x of d"):
        split.check(["a", "b", "c", "x"], "d")
    with pytest.raises(SplitError, match="d lacks subjects a, b of split s"):
        split.check(["c"], "d")


def test_long_lists_of_subjects_are_cut():
    split = Split("s", (fold("a", "b", "c"),))
    with pytest.raises(SplitError, match="subjects 0, 1, 2, 3, 4 … of d"):
        split.check([*"abc", *"0123456789"], "d")


def test_files_keep_a_split(tmp_path):
    split = Split("s", (fold("ba", "c", "d"),), "made here")
    write_split(split, tmp_path / "s.json")
    again = read_split(tmp_path / "s.json")
    assert (again.name, again.source, again.digest) == ("s", "made here", split.digest)
    assert again.folds == (fold("ab", "c", "d"),)


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "s.json"
    write_split(Split("s", (fold("ab", "c", "d"),)), path)
    content = json.loads(path.read_text())
    content["folds"][0] |= {"train": ["a"], "test": ["b", "d"]}
    path.write_text(json.dumps(content))
    with pytest.raises(SplitError, match=rf"s\.json: its folds have digest .*, not {content['digest']}"):
        read_split(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"name": "s", "folds": [{"train": ["a"]}]}', '{"folds": 3}', "\xff"]
)
def test_what_is_no_split_file_is_refused(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SplitError, match=r"s\.json: not a split file"):
        read_split(path)


@given(WEIGHTS, st.integers(2, 6), st.sampled_from(["x", "y"]))
def test_balanced_splits(weights, count, seed_name):
    assume(len(weights) >= 2 * count)
    split = balanced_split("s", weights, count, seed_name)
    assert len(split.folds) == count
    tested = [subject for each in split.folds for subject in each.test]
    assert sorted(tested) == sorted(weights)
    loads = [sum(weights[subject] for subject in each.test) for each in split.folds]
    assert max(loads) - min(loads) <= max(weights.values())
    for each in split.folds:
        parts = [set(each.subjects(part)) for part in PARTS]
        assert all(parts)
        assert sum(len(part) for part in parts) == len(weights)
        assert set.union(*parts) == set(weights)
        rest = len(weights) - len(each.test)
        assert abs(len(each.validation) - rest / 4) < 1
    assert split.digest == balanced_split("t", dict(reversed(weights.items())), count, seed_name).digest


def test_one_subject_that_outweighs_all_others_leaves_nobody_to_validate():
    with pytest.raises(SplitError, match="fold 1: no subject in validation"):
        balanced_split("s", {"a": 1000, "b": 1, "c": 1, "d": 1}, 2, "x")


def test_subjects_without_pairs_are_shared_out_too():
    split = balanced_split("s", {**dict.fromkeys("abcdefgh", 9), "x": 0, "y": 0}, 2, "x")
    assert sorted(len(each.test) for each in split.folds) == [5, 5]


def test_balanced_splits_follow_the_name_of_their_seed():
    weights = dict.fromkeys("abcdefghijkl", 1)
    digests = {balanced_split("s", weights, 3, seed_name).digest for seed_name in ("x", "y", "z")}
    assert len(digests) == 3


@pytest.mark.parametrize(("subjects", "count"), [(7, 4), (3, 2)])
def test_too_few_subjects_or_folds_are_refused(subjects, count):
    with pytest.raises(SplitError, match=f"{subjects} subjects are too few for {count} folds"):
        balanced_split("s", {str(number): 1 for number in range(subjects)}, count, "x")


@given(st.sets(st.text("abcdef", min_size=1, max_size=3), min_size=3, max_size=15))
def test_leave_one_out(subjects):
    split = leave_one_out_split("s", dict.fromkeys(subjects, 1))
    assert [each.test for each in split.folds] == [(subject,) for subject in sorted(subjects)]
    for each in split.folds:
        assert len(each.train) + len(each.validation) == len(subjects) - 1
        assert each.train


def test_leave_one_out_needs_three():
    with pytest.raises(SplitError, match="2 subjects are too few to leave one out"):
        leave_one_out_split("s", {"a": 1, "b": 1})


def test_rules_by_name():
    weights = dict.fromkeys("abcdefgh", 1)
    assert rule_split("balanced-3", weights, "x").digest == balanced_split("b", weights, 3, "x").digest
    assert rule_split("leave-one-out", weights, "x").digest == leave_one_out_split("l", weights).digest


@pytest.mark.parametrize(
    "name",
    ["balanced", "balanced-", "balanced-x", "balanced--4", "balanced-²", "other-4", "", "../fgnet-4fold"],
)
def test_unknown_rules_name_the_known_ones(name):
    with pytest.raises(SplitError, match="no split is called") as caught:
        rule_split(name, dict.fromkeys("abcdefgh", 1), "x")
    assert "balanced-4" in caught.value.hint
    assert "leave-one-out" in caught.value.hint


@pytest.mark.parametrize(("wrong", "right"), [("leave-on-out", "leave-one-out"), ("disfa-jjaa", "disfa-jaa")])
def test_a_mistyped_split_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(SplitError, match=f"Did you mean {right}"):
        rule_split(wrong, dict.fromkeys("abcdefgh", 1), "x", offered=("disfa-heatmap", "disfa-jaa"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_verify_and_test_each_subject_once(path):
    split = read_split(path)
    assert split.name == path.stem
    assert split.source
    assert sorted(subject for each in split.folds for subject in each.test) == sorted(split.subjects)


def test_every_split_that_a_card_names_is_a_file_or_a_rule():
    from comface_bench.core.registry import task_registry

    weights = {str(number): 1 for number in range(30)}
    for entry in task_registry(plugins=False).declared():
        for name in entry.card.splits:
            assert name in NAMES or rule_split(name, weights, "x", dict.fromkeys(weights, 2)), entry.card.name


def test_the_heatmap_split_is_the_published_one():
    split = read_split(NAMES["disfa-heatmap"])
    assert [tuple(set(each.subjects(part)) for part in PARTS) for each in split.folds] == [
        tuple(names(text) for text in parts) for parts in HEATMAP
    ]
    assert sorted(split.subjects) == DISFA


def test_the_jaa_split_tests_the_published_parts():
    split = read_split(NAMES["disfa-jaa"])
    assert [set(each.test) for each in split.folds] == [names(text) for text in JAA_TESTS]
    assert sorted(split.subjects) == DISFA


def test_the_split_of_fgnet_follows_its_rule():
    assert len(FGNET_IMAGES) == 82
    assert sum(FGNET_IMAGES) == 1002
    assert sum(FGNET_PAIRS.values()) == 5808
    split = read_split(NAMES["fgnet-4fold"])
    assert rule_split("balanced-4", FGNET_PAIRS, "FGNET").digest == split.digest
    loads = [sum(FGNET_PAIRS[subject] for subject in each.test) for each in split.folds]
    assert sum(loads) == 5808
    assert max(loads) - min(loads) <= max(FGNET_PAIRS.values())


def test_the_splits_of_synthfaces_follow_their_rule():
    people = {f"{number:03d}": 45 for number in range(1, 41)}
    patients = {f"P{number:02d}": 45 for number in range(1, 40)}
    for name, weights, data in (("age", people, "FGNET"), ("weight", patients, "Edema-A")):
        split = read_split(NAMES[f"synth-{name}-4fold"])
        assert rule_split("balanced-4", weights, f"synthfaces/{data}").digest == split.digest


def test_a_pooled_split_tests_each_subject_once():
    fold = Fold(("a", "b"), ("c",), ("d",))
    with pytest.raises(SplitError, match="subjects a, b, c"):
        Split("partial", (fold,)).check_tested_once()
    with pytest.raises(SplitError, match="subject"):
        Split("twice", (fold, fold)).check_tested_once()
    balanced_split("whole", dict.fromkeys("abcdefgh", 1), 4, "x").check_tested_once()


@pytest.mark.parametrize("count", [0, 1])
def test_one_fold_is_none(count):
    with pytest.raises(SplitError, match="at least 2 folds"):
        balanced_split("s", dict.fromkeys("abcdefgh", 1), count, "x")


DAYS = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 6), min_size=4, max_size=45)
PATIENT_RULES = ("patient-days", "other-patients", "four-folds")


def patient_splits(days, tested=None, seed_name="x"):
    weights = dict.fromkeys(days, 9)
    return [patient_split("s", rule, tested, days, weights, seed_name) for rule in PATIENT_RULES]


def test_the_papers_numbers_of_patients_and_their_proportion():
    for count, tested in ((39, 15), (24, 9), (13, 5)):
        days = {f"P{number:02d}": 5 for number in range(count)}
        own, others, whole = patient_splits(days)
        (fold,) = own.folds
        assert (len(fold.test), len(fold.train) + len(fold.validation)) == (tested, count - tested)
        assert len(fold.validation) == round((count - tested) / 4)
        assert [sorted(s for one in split.folds for s in one.test) for split in (others, whole)] == [
            list(fold.test)
        ] * 2
        for one in others.folds:
            assert {*one.train, *one.validation} == {*fold.train, *fold.validation}
        assert own.digest == patient_splits(days, tested)[0].digest
        assert own.digest != patient_splits(days, seed_name="y")[0].digest or count < 14


@given(DAYS, st.one_of(st.none(), st.integers(0, 20)))
def test_patients_who_are_tested_teach_nobody_else(days, tested):
    try:
        splits = patient_splits(days, tested)
    except SplitError as error:
        assert error.hint or "no subject in" in error.message
        return
    chosen = [{subject for fold in split.folds for subject in fold.test} for split in splits]
    assert chosen[0] == chosen[1] == chosen[2]
    assert all(days[subject] > 1 for subject in chosen[0])
    # Who is left out has no more days that count than who is in.
    most = max((min(days[subject], 4) for subject in days.keys() - chosen[0]), default=0)
    assert min(min(days[subject], 4) for subject in chosen[0]) >= most
    whole = splits[2]
    assert [split.kind for split in splits] == ["days", "subjects", "subjects"]
    for split in splits:
        split.check_tested_once()
        split.check(sorted(days), "d")
        for fold in split.folds:
            taught = {*fold.train, *fold.validation}
            assert not taught & set(fold.test)
            if split is not whole:
                assert not taught & chosen[0]
    standard = balanced_split("b", dict.fromkeys(days, 9), 4, "x")
    # A fold that would test nobody is left out.
    usual_folds = [usual for usual in standard.folds if chosen[0] & set(usual.test)]
    for fold, usual in zip(whole.folds, usual_folds, strict=True):
        assert (fold.train, fold.validation) == (usual.train, usual.validation)
        assert fold.test == tuple(subject for subject in usual.test if subject in chosen[0])


@pytest.mark.parametrize(
    ("name", "days", "hint"),
    [
        ("patient-days-9", dict.fromkeys("abcdefgh", 3), "-o split=patient-days-N, N from 1 to 4"),
        ("patient-days-0", dict.fromkeys("abcdefgh", 3), "-o split=patient-days-N, N from 1 to 4"),
        ("other-patients", dict.fromkeys("abcdefgh", 3), "-o split=other-patients-N, N from 4 to 4"),
        ("other-patients", dict.fromkeys("abcdefg", 3), "Add patients with at least two days"),
        ("patient-days", dict.fromkeys("abcdefgh", 1), "Add patients with at least two days"),
        ("patient-days", {}, "Add patients with at least two days"),
    ],
)
def test_too_few_patients_say_how_many_would_do(name, days, hint):
    with pytest.raises(SplitError, match="patients can't be tested") as caught:
        rule_split(name, dict.fromkeys(days, 9), "x", days)
    assert hint in caught.value.hint


def test_files_keep_the_kind_of_a_split_and_who_is_not_tested(tmp_path):
    days = {f"P{number:02d}": 5 for number in range(20)}
    for split in patient_splits(days):
        write_split(split, tmp_path / "s.json")
        again = read_split(tmp_path / "s.json")
        assert (again.kind, again.untested, again.digest) == (split.kind, split.untested, split.digest)
        again.check_tested_once()
    content = json.loads((tmp_path / "s.json").read_text())
    (tmp_path / "s.json").write_text(json.dumps(content | {"kind": "weeks"}))
    with pytest.raises(SplitError, match='its kind is "weeks", not subjects or days'):
        read_split(tmp_path / "s.json")


def test_a_split_of_days_keeps_tested_people_out_of_all_other_parts():
    for kind in ("subjects", "days"):
        with pytest.raises(SplitError, match="fold 0: c stand more than once"):
            Split("s", (fold("ac", "b", "cd"),), kind=kind)
    folds = (fold("a", "b", "cd"), fold("c", "d", "ab"))
    Split("s", folds)
    with pytest.raises(SplitError, match="tests days of a, b, c, d, who train in another fold"):
        Split("s", folds, kind="days")
    with pytest.raises(SplitError, match="fold 1 tests a, who are untested"):
        Split("s", folds, untested=frozenset("a"))


FRACTIONS = st.fractions(min_value=0, max_value=1).filter(bool)


@given(WEIGHTS, st.integers(2, 4), FRACTIONS, FRACTIONS)
def test_fewer_training_people_are_among_more_and_nobody_else_changes(weights, count, first, second):
    assume(len(weights) >= 2 * count)
    whole = balanced_split("s", weights, count, "x")
    small, large = (whole.keep_training(part, "x") for part in sorted((first, second)))
    for before, few, many in zip(whole.folds, small.folds, large.folds, strict=True):
        assert set(few.train) <= set(many.train) <= set(before.train)
        assert len(few.train) == math.ceil(min(first, second) * len(before.train))
        assert (few.validation, few.test) == (before.validation, before.test)
    assert whole.keep_training(Fraction(1), "x").digest == whole.digest
    assert (small.digest == large.digest) == (small.folds == large.folds)


def test_fractions_are_exact_and_each_fold_and_data_set_draws_its_own():
    people = [f"{number:03d}" for number in range(100)]
    split = Split("s", (fold(people, "v", "t"), fold(people, "t", "v")))
    first, second = split.keep_training(Fraction("0.55"), "a").folds
    assert len(first.train) == len(second.train) == 55
    assert first.train != second.train
    assert split.keep_training(Fraction("0.55"), "b").folds[0].train != first.train
    assert split.keep_training(Fraction("0.55"), "a").source.endswith("0.55 of the training people")
