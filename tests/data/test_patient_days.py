"""Days of patients: no tested day among those that train, whatever the data set looks like."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.errors import DataFormatError
from comface_bench.data.manifest import Manifest
from comface_bench.data.patient_days import draw_day_models, paired_days

BOTH = ("pre", "post")
ROWS = st.dictionaries(
    st.tuples(st.sampled_from("ABC"), st.sampled_from("123456")),
    st.sampled_from([BOTH, BOTH, BOTH, ("post", "pre", "pre"), ("pre",), ("post", "post"), ("pre", None)]),
    min_size=6,
).flatmap(
    lambda days: st.permutations(
        [(subject, day, phase) for (subject, day), phases in days.items() for phase in phases]
    )
)
"""Images in any order: most days have both phases, some only one or none."""
UNLABELLED = st.sets(st.integers(0, 20), max_size=4)
NO_DAY = st.sets(st.integers(0, 20), max_size=3)


def make(rows) -> tuple[Manifest, np.ndarray]:
    labels = np.array([row[3] for row in rows])
    table = Manifest(
        "d",
        Path(),
        images=tuple(f"{number:03d}.jpg" for number in range(len(rows))),
        subjects=tuple(row[0] for row in rows),
        sessions=tuple(row[1] for row in rows),
        phases=tuple(row[2] for row in rows),
        labels={"kg": labels},
        contents=tuple(str(number) for number in range(len(rows))),
    )
    return table, labels


def regular(days=4, patients="ABC"):
    return make(
        [(p, str(day), phase, 60.0) for p in patients for day in range(days) for phase in ("pre", "post")]
    )


@given(ROWS, UNLABELLED, NO_DAY, st.one_of(st.none(), st.integers(1, 4)), st.integers(0, 3))
def test_no_tested_day_trains_its_model(shown, unlabelled, no_day, count, seed):
    table, labels = make(
        [
            (
                subject,
                None if row in no_day else day,
                phase,
                float("nan") if row in unlabelled else 60.0 + row,
            )
            for row, (subject, day, phase) in enumerate(shown)
        ]
    )
    days = paired_days(table, labels)
    able = [subject for subject in days if len(days[subject]) > (count or 1)]
    models = draw_day_models(table, labels, able, count, seed)
    # Every day that has a pair is tested once.
    assert [(one.subject, one.tested) for one in models] == [(s, day) for s in able for day in days[s]]
    for model in models:
        assert model.tested not in model.trained
        assert len(set(model.trained)) == (count or len(days[model.subject]) - 1)
        for part, wanted in ((model.train_rows, set(model.trained)), (model.test_rows, {model.tested})):
            assert {table.sessions[row] for row in part} == wanted
            assert {table.subjects[row] for row in part} == {model.subject}
            assert {table.phases[row] for row in part} == {"pre", "post"}
            assert not np.isnan(labels[part]).any()
        assert not set(model.train_rows) & set(model.test_rows)


@given(st.integers(0, 5))
def test_fewer_days_are_the_beginning_of_more(seed):
    table, labels = regular(6)
    draws = [draw_day_models(table, labels, "ABC", count, seed) for count in (1, 2, 3, 5, None)]
    for models in zip(*draws, strict=True):
        for fewer, more in pairwise(models):
            assert set(fewer.trained) <= set(more.trained)
        assert models[-1].trained == models[-2].trained


def test_draws_depend_on_the_seed_and_on_nobody_else():
    table, labels = regular(6)
    trained = [[one.trained for one in draw_day_models(table, labels, "ABC", 1, seed)] for seed in range(3)]
    assert trained[0] != trained[1] != trained[2]
    alone = draw_day_models(table, labels, "B", 1, 0)
    assert [one.trained for one in alone] == trained[0][6:12]
    # Each of the others is drawn sometimes.
    drawn = {one.trained for seed in range(40) for one in draw_day_models(table, labels, "A", 1, seed)[:1]}
    assert drawn == {(day,) for day in "12345"}


def test_too_few_days_say_how_many_would_do():
    table, labels = make(
        [("A", str(day), phase, 60.0) for day in range(3) for phase in ("pre", "post")]
        + [("B", "1", "pre", 60.0)]
    )
    with pytest.raises(
        DataFormatError, match="A has 3 days with images of both phases, so that no 3"
    ) as caught:
        draw_day_models(table, labels, "A", 3, 0)
    assert caught.value.hint.endswith("-o days=2")
    fewer = draw_day_models(table, labels, "A", 3, 0, fewer=True)
    assert [one.trained for one in fewer] == [("1", "2"), ("0", "2"), ("0", "1")]
    with pytest.raises(DataFormatError, match="B has 0 days"):
        draw_day_models(table, labels, "B", 1, 0, fewer=True)
