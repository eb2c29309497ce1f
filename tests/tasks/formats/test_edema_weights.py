"""Weights that can't be right: each rule at its limit, and how `checked` silences it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.edema_weights import Weighing, check_weights

TABLE = Path("manifest.csv")
OR_CHECKED = "or write yes in a column `checked` if it is right"


def weighings(*cells, checked=()):
    """Rows from (patient, day, phase, kg); lines count from 2, and those of `checked` are."""
    return [
        Weighing(*cell, where=f"{TABLE}:{number}", checked=number in checked)
        for number, cell in enumerate(cells, start=2)
    ]


def found(*cells, checked=()):
    problems = ProblemList()
    check_weights(TABLE, weighings(*cells, checked=checked), problems)
    return [dataclasses.astuple(problem) for problem in problems.found]


def treatment(pre, post, patient="P1", day="1"):
    return (patient, day, "pre", pre), (patient, day, "post", post)


SANE = [
    treatment(60.0, 58.0),
    treatment(60.0, 60.0),
    (("P1", "1", "pre", 58.1), *[("P1", "1", "post", 58.1)] * 3),
    treatment(60.0, 54.0),  # 10 % exactly
    (*treatment(61.0, 60.0), *treatment(90.0, 88.0, day="2")),  # half as much again
    (("P1", "1", "pre", 60.0), ("P1", "1", "pre", 60.0), ("P1", "1", "post", 58.0)),
    (("P1", "1", "post", 61.0), ("P1", "2", "pre", 60.0)),  # heavier on another day
    (*treatment(60.0, 58.0), *treatment(132.0, 130.0, patient="P2")),  # two people differ
]


@pytest.mark.parametrize("cells", SANE, ids=str)
def test_sane_weights_pass(cells):
    assert found(*cells) == []


# Rows, line, message, remedy (before "or write yes").
ODD = [
    (
        treatment(58.0, 60.0),
        3,
        "P1, day 1: 58 kg before treatment and 60 kg after it, which is more",
        "Swap pre and post if they were mistaken, ",
    ),
    (
        (
            ("P1", "1", "pre", 58.5),
            ("P1", "1", "pre", 58.5),
            ("P1", "1", "post", 58.6),
            ("P1", "1", "post", 58.6),
        ),
        4,
        "P1, day 1: 58.5 kg before treatment and 58.6 kg after it, which is more",
        "Swap pre and post if they were mistaken, ",
    ),
    (
        treatment(60.0, 53.9),
        3,
        "P1, day 1: 60 kg before treatment and 53.9 kg after it, a change of 10.2%",
        "Correct the wrong weight or day, ",
    ),
    (
        treatment(60.0, 85.0),
        3,
        "P1, day 1: 60 kg before treatment and 85 kg after it, a change of 41.7%",
        "Correct the wrong weight or day, ",
    ),
    (
        (("P1", "1", "pre", 60.0), ("P1", "1", "pre", 60.2), ("P1", "1", "post", 58.0)),
        3,
        "P1, day 1, pre: 60.2 kg here and 60 kg in line 2",
        "A patient has one weight a phase: correct one, give another day, ",
    ),
    (
        treatment(60.0, 127.9),
        3,
        "P1 weighs 127.9 kg here and 60 kg in line 2, 2.2 times as much: pounds?",
        "Divide pounds by 2.2046, ",
    ),
    (
        (*treatment(60.0, 58.0), *treatment(132.3, 127.9, day="2")),
        4,
        "P1 weighs 132.3 kg here and 58 kg in line 3, 2.2 times as much: pounds?",
        "Divide pounds by 2.2046, ",
    ),
    (
        (*treatment(60.0, 58.0), *treatment(96.0, 95.0, day="2")),
        4,
        "P1 weighs 96 kg here and 58 kg in line 3",
        "Correct the wrong one, ",
    ),
]


@pytest.mark.parametrize(("cells", "number", "message", "remedy"), ODD, ids=[row[2] for row in ODD])
def test_odd_weights_are_told_once_with_line_and_remedy(cells, number, message, remedy):
    assert found(*cells) == [(f"{TABLE}:{number}", message, f"{remedy}{OR_CHECKED}.")]


@pytest.mark.parametrize("cells", [row[0] for row in ODD], ids=[row[2] for row in ODD])
def test_a_checked_weight_is_left_alone(cells):
    lines = range(2, 2 + len(cells))
    assert found(*cells, checked=lines) == []


def test_checked_silences_its_own_row_only():
    cells = (*treatment(58.0, 60.0), *treatment(58.0, 60.0, day="2"))
    (problem,) = found(*cells, checked=(3,))
    assert problem[1].startswith("P1, day 2")


def test_every_odd_day_and_patient_is_told():
    cells = [row for patient in ("P1", "P2") for day in ("1", "2") for row in treatment(58, 60, patient, day)]
    assert [message.partition(":")[0] for _, message, _ in found(*cells)] == [
        "P1, day 1",
        "P1, day 2",
        "P2, day 1",
        "P2, day 2",
    ]


def cohort(*weights):
    return [row for number, kg in enumerate(weights) for row in treatment(kg, kg - 1, patient=f"P{number}")]


def test_a_whole_cohort_in_pounds_is_seen():
    assert found(*cohort(110, 120, 130, 150, 180)) == [
        (
            str(TABLE),
            "half of the 5 patients weigh more than 120 kg: pounds?",
            f"Divide weight_kg by 2.2046, {OR_CHECKED}.",
        )
    ]


@pytest.mark.parametrize(
    "weights", [(150, 160, 170, 180), (60, 70, 80, 150, 160), (50, 55, 60, 65, 120)], ids=str
)
def test_few_or_some_heavy_patients_are_no_cohort_in_pounds(weights):
    assert found(*cohort(*weights)) == []


def test_a_checked_cohort_is_left_alone():
    cells = cohort(130, 140, 150, 160, 170)
    assert found(*cells, checked=range(2, 2 + len(cells))) == []
