"""Properties of any data set: pairs stay within subjects, folds keep people apart, digests see labels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from comface_bench.core.card import TaskCard
from comface_bench.core.errors import DataFormatError, SplitError
from comface_bench.data.manifest import Manifest
from comface_bench.data.pairs import PairSource
from comface_bench.data.splits import PARTS, rule_split
from comface_bench.data.task import Task

RULES = ("all", "pre-post", "pre-post-same-day")
FILES = 32
LABEL = st.none() | st.integers(40, 90) | st.floats(40, 90)
ROW = st.fixed_dictionaries(
    {
        "subject": st.sampled_from("abcdefgh"),
        "session": st.none() | st.sampled_from(["1", "2"]),
        "phase": st.none() | st.sampled_from(["pre", "post"]),
        "kg": LABEL,
        "age": LABEL,
    }
)
ROWS = st.lists(ROW, min_size=1, max_size=FILES)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder of files that stand for images."""
    root = tmp_path_factory.mktemp("images")
    for number in range(FILES):
        (root / f"{number:02d}.jpg").write_bytes(bytes([number]))
    return root


def numbered(rows):
    return [{"image": f"{number:02d}.jpg", **row} for number, row in enumerate(rows)]


def table_of(root, rows):
    return Manifest.from_rows("d", root, numbered(rows))


def split_of(name, weights):
    """The folds of a rule; examples where one subject outweighs all others are passed over."""
    try:
        return rule_split(name, weights, "d")
    except SplitError as error:
        assert "no subject in validation" in str(error)
        heaviest = max(weights.values())
        assert heaviest >= sum(weights.values()) - heaviest
        return reject()


def allowed(table, labels, subjects, rule):
    """All pairs of images that a rule allows, one by one."""
    found = set()
    for i, j in itertools.combinations(range(len(table)), 2):
        if table.subjects[i] != table.subjects[j] or table.subjects[i] not in subjects:
            continue
        if np.isnan(labels[[i, j]]).any():
            continue
        if rule != "all" and {table.phases[i], table.phases[j]} != {"pre", "post"}:
            continue
        if rule == "pre-post-same-day" and table.sessions[i] != table.sessions[j]:
            continue
        found.add((i, j))
    return found


@pytest.mark.parametrize("rule", RULES)
@given(rows=ROWS, seed=st.integers(0, 99))
@quick
def test_pairs_stay_within_a_subject_and_are_those_of_the_rule(root, rule, rows, seed):
    table = table_of(root, rows)
    labels = table.labels["kg"]
    source = PairSource(table, labels)
    expected = allowed(table, labels, set(table.subjects), rule)
    assert sum(source.counts(rule).values()) == len(expected)
    if not expected:
        with pytest.raises(DataFormatError, match="no pair"):
            source.list_pairs(table.subject_names, rule, None, seed)
        with pytest.raises(DataFormatError, match="no pair"):
            source.draw(table.subject_names, rule, 5, seed)
        return
    listed = source.list_pairs(table.subject_names, rule, None, seed)
    assert sorted(map(tuple, map(sorted, zip(listed.x, listed.y, strict=True)))) == sorted(expected)
    drawn = source.draw(table.subject_names, rule, 50, seed)
    assert set(map(tuple, map(sorted, zip(drawn.x, drawn.y, strict=True)))) <= expected
    for pairs in (listed, drawn):
        assert pairs.target.tolist() == (labels[pairs.y] - labels[pairs.x]).tolist()
        assert [table.subject_names[number] for number in pairs.subject] == [
            table.subjects[row] for row in pairs.y
        ]


@given(
    weights=st.dictionaries(
        st.text("abc0129-_ ", min_size=1, max_size=4), st.integers(0, 500), min_size=4, max_size=40
    ),
    folds=st.integers(2, 6) | st.none(),
)
@quick
def test_rules_of_folds_partition_the_subjects(weights, folds):
    name = "leave-one-out" if folds is None else f"balanced-{folds}"
    assume(folds is None or len(weights) >= 2 * folds)
    split = split_of(name, weights)
    assert len(split.folds) == (len(weights) if folds is None else folds)
    for fold in split.folds:
        parts = [fold.subjects(part) for part in PARTS]
        assert all(parts)
        listed = [subject for part in parts for subject in part]
        assert sorted(listed) == sorted(weights)
    tested = [subject for fold in split.folds for subject in fold.test]
    assert sorted(tested) == sorted(weights)
    again = split_of(name, dict(reversed(weights.items())))
    assert again.digest == split.digest


@given(
    rows=st.lists(ROW, min_size=16, max_size=FILES),
    rule=st.sampled_from(RULES),
    folds=st.integers(2, 4),
)
@quick
def test_train_validation_and_test_pairs_never_share_a_subject_or_an_image(root, rows, rule, folds):
    table = table_of(root, rows)
    assume(len(table.subject_names) >= 2 * folds)
    card = TaskCard("t", 1, "custom", "d", ":read", "kg", "kg", (0, 400), ("mae",), test_pairs=rule)
    split = split_of(f"balanced-{folds}", PairSource(table, table.labels["kg"]).counts())
    task = Task(card, {"split": split.name}, table, split)
    for fold in range(folds):
        images, subjects = [], []
        for part in PARTS:
            try:
                pairs = task.pairs(fold, part)
            except DataFormatError:
                continue
            images.append(set(pairs.x) | set(pairs.y))
            subjects.append(set(pairs.subject))
        try:
            drawn = task.draw(fold, 0, 1, 20)
        except DataFormatError:
            pass
        else:
            assert {table.subject_names[number] for number in drawn.subject} <= set(split.folds[fold].train)
        for sets in (images, subjects):
            assert sum(map(len, sets)) == len(set().union(*sets))


@given(rows=ROWS, order=st.randoms(use_true_random=False))
@quick
def test_the_digest_does_not_depend_on_the_order_of_rows(root, rows, order):
    shuffled = numbered(rows)
    order.shuffle(shuffled)
    assert Manifest.from_rows("d", root, shuffled).digest == table_of(root, rows).digest


@given(
    rows=ROWS,
    place=st.integers(0, FILES - 1),
    column=st.sampled_from(["kg", "age", "subject", "session", "phase"]),
    value=LABEL,
)
@quick
def test_the_digest_changes_with_any_label_subject_session_or_phase(root, rows, place, column, value):
    place %= len(rows)
    changed = [dict(row) for row in rows]
    if column in ("kg", "age"):
        assume(value != rows[place][column])
        changed[place][column] = value
    else:
        changed[place][column] = f"{rows[place][column]}x"
    assert table_of(root, changed).digest != table_of(root, rows).digest


@given(rows=ROWS, column=st.sampled_from(["kg", "age"]), towards=st.sampled_from([0.0, 1e9]))
@quick
def test_the_digest_sees_the_last_bit_of_a_label(root, rows, column, towards):
    value = rows[0][column]
    assume(value is not None)
    nudged = [{**rows[0], column: float(np.nextafter(float(value), towards))}, *rows[1:]]
    assert table_of(root, nudged).digest != table_of(root, rows).digest
