"""Pairs against plain loops; properties of any data set: pairs within subjects, folds that share no one."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from comface_bench.core.card import TaskCard
from comface_bench.core.errors import DataFormatError, SplitError
from comface_bench.data.manifest import Manifest
from comface_bench.data.pairs import PairSampler, unrank
from comface_bench.data.splits import PARTS, rule_split
from comface_bench.data.task import Task

RULES = ("all", "pre-post", "pre-post-same-day")


def manifest_of(cells):
    """A manifest from (subject, session, phase, label) cells; the label may be None."""
    labels = np.array([math.nan if label is None else label for *_, label in cells], dtype=np.float64)
    return Manifest(
        name="d",
        root=Path(),
        images=tuple(f"{number:04d}.jpg" for number in range(len(cells))),
        subjects=tuple(subject for subject, *_ in cells),
        sessions=tuple(session for _, session, *_ in cells),
        phases=tuple(phase for _, _, phase, _ in cells),
        labels={"kg": labels},
        contents=("0" * 64,) * len(cells),
    )


def source_of(cells):
    manifest = manifest_of(cells)
    return PairSampler(manifest, manifest.labels["kg"])


def reference(cells, subjects, rule):
    """All unordered pairs of rows that a rule allows, one by one."""
    found = set()
    for i, j in itertools.combinations(range(len(cells)), 2):
        (subject, session, phase, label), (other, session2, phase2, label2) = cells[i], cells[j]
        if subject != other or subject not in subjects or label is None or label2 is None:
            continue
        if rule != "all" and {phase, phase2} != {"pre", "post"}:
            continue
        if rule == "pre-post-same-day" and (session != session2 or session is None):
            continue
        found.add((i, j))
    return found


CELLS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["1", "2", None]),
        st.sampled_from(["pre", "post", None]),
        st.none() | st.integers(40, 90),
    ),
    min_size=1,
    max_size=24,
)
SMALL = [
    *(
        ("a", str(day), phase, 60 + 2 * day + (phase == "pre"))
        for day in range(4)
        for phase in ("pre", "post")
    ),
    *(
        ("b", "1", phase, weight)
        for phase, weight in (("pre", 71.5), ("post", 70.0), ("post", 69.75), (None, 50))
    ),
    ("c", "1", "pre", 80),
    ("d", "1", "pre", None),
    ("d", "1", "post", 90),
    ("d", "2", "post", 92),
]


@given(CELLS, st.sampled_from(RULES), st.integers(0, 9))
@settings(max_examples=200)
def test_evaluation_pairs_are_those_of_a_plain_loop(cells, rule, seed):
    subjects = sorted({subject for subject, *_ in cells})[:2]
    expected = reference(cells, subjects, rule)
    source = source_of(cells)
    if not expected:
        with pytest.raises(DataFormatError, match="no pair"):
            source.list_pairs(subjects, rule, None, seed)
        return
    pairs = source.list_pairs(subjects, rule, None, seed)
    found = [tuple(sorted(pair)) for pair in zip(pairs.x.tolist(), pairs.y.tolist(), strict=True)]
    assert len(found) == len(expected)
    assert set(found) == expected
    numbers = {subject: number for number, subject in enumerate(sorted({subject for subject, *_ in cells}))}
    for x, y, target, subject in zip(pairs.x, pairs.y, pairs.target, pairs.subject, strict=True):
        assert cells[x][0] == cells[y][0]
        assert target == cells[y][3] - cells[x][3]
        assert subject == numbers[cells[x][0]]
    assert len(set(source.identifiers(pairs))) == len(pairs)


@given(CELLS, st.sampled_from(RULES), st.integers(0, 9))
@settings(max_examples=100)
def test_drawn_pairs_are_among_those_of_a_plain_loop(cells, rule, seed):
    subjects = sorted({subject for subject, *_ in cells})[:2]
    expected = reference(cells, subjects, rule)
    source = source_of(cells)
    if not expected:
        with pytest.raises(DataFormatError, match="training subjects have no pair"):
            source.draw(subjects, rule, 5, seed)
        return
    pairs = source.draw(subjects, rule, 50, seed)
    assert len(pairs) == 50
    assert {tuple(sorted(pair)) for pair in zip(pairs.x.tolist(), pairs.y.tolist(), strict=True)} <= expected
    assert pairs.target.tolist() == [cells[y][3] - cells[x][3] for x, y in zip(pairs.x, pairs.y, strict=True)]


@given(CELLS)
def test_counts_are_those_of_rule_all(cells):
    counts = source_of(cells).counts()
    assert counts == {subject: len(reference(cells, [subject], "all")) for subject in counts}
    assert set(counts) == {subject for subject, *_ in cells}


@pytest.mark.parametrize(
    ("rule", "total"), [("all", 28 + 6 + 1), ("pre-post", 16 + 2), ("pre-post-same-day", 4 + 2)]
)
def test_counts_of_a_small_table_by_hand(rule, total):
    assert len(source_of(SMALL).list_pairs("abcd", rule, None, 0)) == total


@pytest.mark.parametrize("rule", RULES)
def test_draws_are_uniform_over_pairs_and_fair_in_orientation(rule):
    expected = reference(SMALL, "abcd", rule)
    count = 4000 * len(expected)
    pairs = source_of(SMALL).draw("abcd", rule, count, seed=1)
    oriented = Counter(zip(pairs.x.tolist(), pairs.y.tolist(), strict=True))
    both = [pair for i, j in expected for pair in ((i, j), (j, i))]
    assert set(oriented) == set(both)
    squares = sum((oriented[pair] - 2000) ** 2 / 2000 for pair in both)
    # Chi-square with len(both) − 1 degrees of freedom: five standard deviations above its mean.
    assert squares < len(both) + 5 * math.sqrt(2 * len(both))


def test_draws_are_repeatable_and_follow_the_seed():
    source = source_of(SMALL)
    one, two, other = (source.draw("ab", "all", 64, seed) for seed in (1, 1, 2))
    assert one.x.tolist() == two.x.tolist()
    assert one.y.tolist() == two.y.tolist()
    assert one.x.tolist() != other.x.tolist()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_subjects_does_not_matter(rule):
    source = source_of(SMALL)
    for pair in (
        [source.draw(subjects, rule, 64, 1) for subjects in ("ab", "ba")],
        [source.list_pairs(subjects, rule, 3, 1) for subjects in ("ab", "ba")],
    ):
        assert pair[0].x.tolist() == pair[1].x.tolist()
        assert pair[0].y.tolist() == pair[1].y.tolist()


@pytest.mark.parametrize("cap", [None, 3])
def test_evaluation_pairs_of_a_subject_do_not_depend_on_the_others(cap):
    source = source_of(SMALL)
    together = source.list_pairs("abcd", "all", cap, 5)
    alone = source.list_pairs("b", "all", cap, 5)
    mine = together.subject == 1
    assert together.x[mine].tolist() == alone.x.tolist()
    assert together.y[mine].tolist() == alone.y.tolist()
    assert together.target[mine].tolist() == alone.target.tolist()


def test_evaluation_orientation_is_fair_and_follows_the_seed():
    cells = [("a", None, None, value) for value in range(100)]
    source = source_of(cells)
    pairs = source.list_pairs("a", "all", None, 0)
    assert len(pairs) == 4950
    assert abs(float((pairs.target > 0).mean()) - 0.5) < 5 * 0.5 / math.sqrt(4950)
    assert source.list_pairs("a", "all", None, 0).target.tolist() == pairs.target.tolist()
    assert source.list_pairs("a", "all", None, 1).target.tolist() != pairs.target.tolist()


def test_the_cap_draws_distinct_pairs_for_each_subject():
    cells = [(subject, None, None, value) for subject in "ab" for value in range(30)] + [
        ("c", None, None, 1)
    ] * 3
    source = source_of(cells)
    pairs = source.list_pairs("abc", "all", 100, 0)
    assert Counter(pairs.subject.tolist()) == {0: 100, 1: 100, 2: 3}
    assert len({tuple(sorted(pair)) for pair in zip(pairs.x.tolist(), pairs.y.tolist(), strict=True)}) == 203
    assert (
        source.list_pairs("a", "all", 435, 0).x.tolist() == source.list_pairs("a", "all", None, 0).x.tolist()
    )


def test_the_cap_draws_uniformly():
    source = source_of([("a", None, None, value) for value in range(5)])
    seen = Counter()
    for seed in range(600):
        pairs = source.list_pairs("a", "all", 5, seed)
        seen.update(tuple(sorted(pair)) for pair in zip(pairs.x.tolist(), pairs.y.tolist(), strict=True))
    # Each of the ten pairs is drawn with probability 1/2: 300 ± 5 · 12.2.
    assert len(seen) == 10
    assert all(abs(times - 300) < 62 for times in seen.values())


def test_identifiers_name_subject_and_ordinals_only():
    source = source_of(
        [("bob", None, None, 1), ("al", None, None, None), ("al", None, None, 2), ("al", None, None, 4)]
    )
    pairs = source.list_pairs(["al"], "all", None, 0)
    assert source.identifiers(pairs)[0] in {"0-0-1", "0-1-0"}


def test_images_are_found_by_the_identifier_of_their_pair():
    source = source_of(SMALL)
    pairs = source.list_pairs(sorted({subject for subject, *_ in SMALL}), "all", None, 0)
    found = [source.find_images(name) for name in source.identifiers(pairs)]
    assert found == list(zip(pairs.x.tolist(), pairs.y.tolist(), strict=True))
    for strange in ("", "0-0", "0-0-1-2", "0-0-x", "0--1-1", "0-0-99", "99-0-1", f"{'9' * 5000}-0-1"):
        assert source.find_images(strange) is None


def test_images_of_unknown_days_are_of_no_day_together():
    cells = [("a", day, phase, len(phase)) for day in (None, "1", None) for phase in ("pre", "post")]
    source = source_of(cells)
    for rule, count in (("pre-post", 9), ("pre-post-same-day", 1)):
        assert source.counts(rule) == {"a": count}
        assert sum(group.count for group in source.groups("a", rule)) == count


def test_the_table_of_pairs():
    pairs = source_of(SMALL).list_pairs("ab", "all", None, 0)
    assert list(pairs.frame.columns) == ["x", "y", "target", "subject"]
    assert pairs.frame["target"].tolist() == pairs.target.tolist()


def test_no_subject_has_no_pair():
    source = source_of(SMALL)
    with pytest.raises(DataFormatError, match="evaluation subjects have no pair of rule 'all'"):
        source.list_pairs([], "all", None, 0)
    with pytest.raises(DataFormatError, match="training subjects have no pair"):
        source.draw([], "all", 4, 0)


def test_unrank_lists_all_pairs_once():
    expected = [(i, j) for j in range(60) for i in range(j)]
    i, j = unrank(np.arange(len(expected)))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


@given(st.integers(0, 2**60))
@settings(max_examples=300)
def test_unrank_is_exact_at_huge_places(index):
    assert_exact(index)


@given(st.integers(2, 2**30), st.integers(-2, 2))
@settings(max_examples=300)
def test_unrank_is_exact_beside_every_triangular_number(j, offset):
    assert_exact(max(0, j * (j - 1) // 2 + offset))


def assert_exact(index):
    j = (1 + math.isqrt(1 + 8 * index)) // 2
    found = unrank(np.array([index]))
    assert (int(found[0][0]), int(found[1][0])) == (index - j * (j - 1) // 2, j)


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
    """The folds of a rule; examples where one subject is half of two folds are passed over."""
    try:
        return rule_split(name, weights, "d")
    except SplitError as error:
        assert "no subject in validation" in str(error)
        heaviest, lightest = max(weights.values()), min(weights.values())
        # The lightest is placed last: until then the others together weigh no more than the heaviest alone.
        assert heaviest >= sum(weights.values()) - heaviest - lightest
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
        one, other = table.sessions[i], table.sessions[j]
        if rule == "pre-post-same-day" and (one != other or one is None):
            continue
        found.add((i, j))
    return found


@pytest.mark.parametrize("rule", RULES)
@given(rows=ROWS, seed=st.integers(0, 99))
@quick
def test_pairs_stay_within_a_subject_and_are_those_of_the_rule(root, rule, rows, seed):
    table = table_of(root, rows)
    labels = table.labels["kg"]
    source = PairSampler(table, labels)
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
    split = split_of(f"balanced-{folds}", PairSampler(table, table.labels["kg"]).counts())
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
