"""Files of studies: those that ship, and what is wrong with others."""

from __future__ import annotations

import pytest

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.execute.grid import read_grids
from comface_bench.leaderboards.paper import tables
from comface_bench.studies.plan import plan_study
from comface_bench.studies.study import ORDER, find_study, read_study, study_names

GOOD = '[study]\ntitle = "T"\nmetrics = "mae"\n'


def test_every_study_has_its_place_and_a_table_or_a_question():
    assert tuple(study_names()) == ORDER
    letters = [study.table for study in map(find_study, ORDER) if study.table]
    assert letters == ["H", "I", "J", "K", "L", "M", "N"]
    assert all(find_study(name).ships and find_study(name).line == name for name in ORDER)


@pytest.mark.parametrize("name", ORDER[:7])
def test_rows_and_columns_are_those_of_the_supplement(name):
    study = find_study(name)
    plan, printed = plan_study(study, {"no_plugins": True}), tables()[study.table]
    assert [(column.task, column.metric) for column in plan.columns] == [
        (column["task"], column["metric"]) for column in printed["columns"]
    ]
    if any(run.row for run in study.runs):
        assert [row.label for row in plan.rows] == [row["row"] for row in printed["rows"]]
    else:
        assert [row.method for row in plan.rows] == [row["method"] for row in printed["rows"]]
    assert {row.request.protocol for row in plan.rows} == {printed["protocol"]}


@pytest.mark.parametrize("name", ORDER)
def test_a_sweep_takes_the_file_of_a_study(name):
    study = find_study(name)
    assert len(read_grids(study.path, {})) == len(study.runs)
    assert study.small["folds"] == [0]


def test_an_unknown_study_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean linear-heads") as raised:
        find_study("linear-head")
    assert raised.value.hint == "See them all: comface-bench study list"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('task = "age"\n', "has no table"),
        ('study = 3\n[[run]]\ntask = "age"\n', "study isn't a table"),
        ('[study]\nmetrics = "mae"\n', "has no title"),
        ('[study]\ntitle = "T"\n', "has no metrics"),
        (GOOD.replace("title", "titel"), "no key is called 'titel'. Did you mean title"),
        (GOOD + "axis = 3\n", "axis isn't the name of an option: 3"),
        (GOOD + 'table = "Z"\n', "no table 'Z'"),
        (GOOD + "small = 3\n", "small isn't a table"),
        (GOOD + "small = { fold = 0 }\n", r"\[study.small\]: no key is called 'fold'"),
        (GOOD + "[[run]]\nstudy = { rows = 'a' }\n", r"\[\[run\]\] 1: study: no key is called 'rows'"),
        (GOOD + "[[run]]\nstudy = { row = '{}' }\n", "row isn't a text, perhaps with"),
        (GOOD + "[[run]]\nstudy = { paper = 'a' }\n", "the supplement's table has no row 'a'"),
        ("[study\n", "own.toml: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(write_study, text, said):
    with pytest.raises(UsageError, match=said):
        read_study(write_study(text))


def test_a_file_of_ones_own_is_named_by_its_path(write_study):
    path = write_study('method = "comface"\n' + GOOD)
    study = find_study(str(path))
    assert (study.name, study.line, study.ships) == ("own", str(path), False)
    assert [run.fields for run in study.runs] == [{}]
