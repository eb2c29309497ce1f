"""`csv:FILE`: options, names that hold no path, and the way through loading, checking and planning."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import comface_bench
from comface_bench.cli.main import main
from comface_bench.core.errors import DataMissingError, SplitError, UsageError
from comface_bench.core.problems import DataProblemsError
from comface_bench.core.registry import task_registry
from comface_bench.data.check import check_data
from comface_bench.data.splits import read_split, write_split
from comface_bench.data.task import load_task
from comface_bench.execute.plan import Request, make_plan
from comface_bench.tasks.csv_file import EXAMPLE, WIDEST_RANGE, make_card

SUBJECTS, SESSIONS = 8, 2


@pytest.fixture
def faces(tmp_path, draw_image):
    """A manifest of 8 subjects on 2 days before and after, with one label."""
    rows = ["image,subject,session,phase,pain"]
    for subject in range(SUBJECTS):
        for session in range(SESSIONS):
            for phase in ("pre", "post"):
                name = f"img/{subject}_{session}_{phase}.png"
                draw_image(tmp_path / name, seed=len(rows))
                rows.append(f"{name},s{subject},{session},{phase},{subject + 2 * session + (phase == 'pre')}")
    path = tmp_path / "faces.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def edit(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(number, line) for number, line in enumerate(lines)) + "\n")


def with_column(path, name, value):
    edit(path, lambda number, line: f"{line},{value(number) if number else name}")


def test_the_only_label_is_the_target(faces):
    task = load_task(f"csv:{faces}")
    assert (task.card.target, task.card.unit, task.card.family) == ("pain", "", "custom")
    assert "change of pain, 32 images" in repr(task)
    assert task.name == "csv:faces.csv"
    assert task.table.name == "faces.csv"
    assert task.card.metrics == ("mae", "pearson", "rmse", "spearman", "ccc", "icc31")
    assert (task.card.train_pairs, task.card.test_pairs) == ("all", "all")
    assert len(task.folds) == 4
    assert sum(len(task.pairs(fold)) for fold in range(4)) == SUBJECTS * 4 * 3 // 2


def test_all_options_are_kept_and_part_of_the_name(faces):
    with_column(faces, "weight_kg", lambda number: 60 + number)
    options = "family=weight+pairs=pre-post-same-day+range=10:400+split=balanced-2+target=weight_kg+unit=kg"
    task = load_task(f"csv:{faces}+{options}")
    assert task.name == f"csv:faces.csv+{options}"
    card = task.card
    assert (card.family, card.test_pairs, card.label_range) == ("weight", "pre-post-same-day", (10.0, 400.0))
    assert (card.target, card.unit, card.metrics[-1]) == ("weight_kg", "kg", "acc")
    assert len(task.folds) == 2
    sessions = np.array(task.table.sessions)
    for fold in range(2):
        assert (sessions[task.pairs(fold).x] == sessions[task.pairs(fold).y]).all()
    drawn = task.draw(0, 0, 1, 100)
    assert (sessions[drawn.x] != sessions[drawn.y]).any()


def test_pre_post_pairs_may_lie_on_two_days(faces):
    task = load_task(f"csv:{faces}+pairs=pre-post")
    assert sum(len(task.pairs(fold)) for fold in range(4)) == SUBJECTS * SESSIONS * SESSIONS
    assert "acc" in task.card.metrics


def test_several_labels_must_be_chosen_from(faces):
    with_column(faces, "mood", lambda number: number)
    with pytest.raises(UsageError, match=r"faces\.csv has several labels: pain, mood") as caught:
        load_task(f"csv:{faces}")
    assert caught.value.hint == "Say which to estimate: -o target=pain or -o target=mood"
    assert load_task(f"csv:{faces}+target=mood").card.target == "mood"


def test_a_subject_under_another_name_is_no_label(faces):
    with_column(faces, "person", lambda number: number % 3)
    edit(faces, lambda number, line: line.replace("subject", "who"))
    with pytest.raises(UsageError, match=r"faces\.csv has no column subject") as caught:
        load_task(f"csv:{faces}")
    assert "image, who, session, phase, pain, person" in caught.value.hint


def test_labels_that_never_change_are_a_problem(faces):
    edit(faces, lambda number, line: f"{line.rpartition(',')[0]},{4 if number else 'pain'}")
    (problem,) = check_data(f"csv:{faces}").problems
    assert "each pain is 4: nothing changes" in str(problem)


def test_one_image_a_person_is_a_problem(faces):
    edit(faces, lambda number, line: line.replace(f",s{(number - 1) // 4},", f",t{number},"))
    (problem,) = check_data(f"csv:{faces}").problems
    assert "no person has two labelled images" in str(problem)


def test_a_label_that_images_lack_keeps_them_out(faces):
    edit(faces, lambda number, line: line.rpartition(",")[0] + "," if number == 1 else line)
    task = load_task(f"csv:{faces}")
    assert np.isnan(task.labels).sum() == 1
    assert sum(len(task.pairs(fold)) for fold in range(4)) == (SUBJECTS - 1) * 6 + 3


USAGE = [
    ("target=pian", "has no column pian", "Its columns of numbers: pain"),
    ("target=phase", "column phase of .* holds no number", "Columns of numbers: pain"),
    ("target=a b", "target=a b can't be part of a task's name", "rename the column"),
    ("unit=°C", "unit=°C can't be part of a task's name", "Use letters"),
    ("range=10", "range=10 is no range", "Write LOW:HIGH, as in -o range=0:10"),
    ("range=10:0", "range=10:0 is no range", "Write LOW:HIGH"),
    ("range=0:1e999", "range=0:1e999 is no range", "Write LOW:HIGH"),
    ("range=a:b", "range=a:b is no range", "Write LOW:HIGH"),
    ("family=age2", "family=age2 isn't one of custom, weight, age, expression", ""),
    ("pairs=some", "pairs=some isn't one of all, pre-post, pre-post-same-day", ""),
    (
        "fold=3",
        "takes no option 'fold'; it takes: allow, family, pairs, range, split, target, train_fraction, unit",
        "",
    ),
]


@pytest.mark.parametrize(("option", "message", "remedy"), USAGE, ids=[row[0] for row in USAGE])
def test_options_that_cannot_be_taken_are_named(faces, option, message, remedy):
    with pytest.raises(UsageError, match=message) as caught:
        load_task(f"csv:{faces}+{option}")
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("rule", "column"),
    [("pre-post", "phase"), ("pre-post-same-day", "session"), ("pre-post-same-day", "phase")],
)
def test_rules_of_pairs_need_their_columns(faces, rule, column):
    edit(faces, lambda number, line: line if number else line.replace(column, "number"))
    with pytest.raises(UsageError, match=f"pairs={rule} needs the column {column}, which") as caught:
        load_task(f"csv:{faces}+pairs={rule}+target=pain")
    assert caught.value.hint.endswith("-o pairs=all")


def test_a_table_without_a_number_has_no_target(faces):
    edit(faces, lambda _, line: line.rpartition(",")[0] + ",x")
    with pytest.raises(UsageError, match="has no column of numbers"):
        load_task(f"csv:{faces}")


def test_labels_outside_the_range_are_named(faces):
    with pytest.raises(DataProblemsError, match=r"faces\.csv:\d+: pain is 8, not within 0 to 7"):
        load_task(f"csv:{faces}+range=0:7")


def test_numbers_that_are_no_quantity_are_refused(faces):
    with_column(faces, "time", lambda number: 1_700_000_000_000 + number)
    (problem, *_) = check_data(f"csv:{faces}+target=time").problems
    assert "time is 1.7e+12, not within -1e+09 to 1e+09" in problem.message
    assert WIDEST_RANGE == (-1e9, 1e9)


def test_malformed_rows_are_reported_by_check_and_load(faces):
    edit(faces, lambda number, line: line.replace("pre", "during") if number == 5 else line)
    (problem,) = check_data(f"csv:{faces}").problems
    assert (problem.where, problem.message) == (f"{faces}:6", "phase is 'during', not pre or post")
    with pytest.raises(DataProblemsError, match=r"faces\.csv:6: phase is 'during'"):
        load_task(f"csv:{faces}+target=pain")


@pytest.mark.parametrize("target", ["", "+target=pain", "+pairs=pre-post"])
def test_a_file_that_is_no_table_is_reported_by_its_reader(faces, target):
    faces.write_text(faces.read_text().replace(",", ";"))
    with pytest.raises(DataProblemsError, match=r"faces\.csv:1: the cells are separated by ';'"):
        load_task(f"csv:{faces}{target}")


def test_images_may_not_leave_the_folder_of_the_file(faces):
    edit(faces, lambda number, line: line.replace("img/", "../img/") if number == 1 else line)
    with pytest.raises(DataProblemsError, match=r"faces\.csv:2: \.\./img/0_0_pre\.png leaves the data root"):
        load_task(f"csv:{faces}")


def test_a_missing_file_says_what_to_type(tmp_path):
    with pytest.raises(
        DataMissingError, match=f"task csv:no.csv needs {tmp_path}/no.csv, which doesn't exist"
    ):
        load_task(f"csv:{tmp_path}/no.csv")
    with pytest.raises(DataMissingError, match="which is a folder") as caught:
        load_task(f"csv:{tmp_path}")
    assert f"comface-bench data check {EXAMPLE}" in caught.value.hint


def test_a_card_is_made_without_the_file():
    card = make_card("csv:somewhere/faces.csv")
    assert (card.name, card.location) == ("csv:faces.csv", "somewhere/faces.csv")
    assert task_registry(plugins=False).get(EXAMPLE).card.name == EXAMPLE


@pytest.mark.parametrize("name", ["csv:", "csv:my faces.csv", "csv:a/.faces.csv", "csv:größe.csv", "csv:.."])
def test_names_that_no_record_can_have_are_refused(name):
    with pytest.raises(UsageError):
        make_card(name)


@pytest.mark.parametrize("sign", [",", "+"])
def test_a_path_that_ends_too_early_is_told_why(tmp_path, sign):
    for path in (f"k{sign}m/faces.csv", f"my data{sign}m/faces.csv", f"fa{sign}ces.csv"):
        request = Request(["scratch"], [f"csv:{path}"], results=tmp_path, use_plugins=False)
        with pytest.raises(UsageError) as caught:
            make_plan(request)
        assert "`,` or `+`" in caught.value.hint


def test_the_home_folder_is_understood(monkeypatch, faces):
    monkeypatch.setenv("HOME", str(faces.parent))
    assert load_task("csv:~/faces.csv").name == "csv:faces.csv"


def test_moving_the_data_changes_nothing(faces, tmp_path):
    def key(path):
        (cell,) = make_plan(Request(["scratch"], [f"csv:{path}"], use_plugins=False)).cells
        return (
            [unit.key() for unit in cell.units],
            cell.task.split.digest,
            cell.task.draw(0, 0, 1, 50).x.tolist(),
        )

    before = key(faces)
    (tmp_path / "else").mkdir()
    for name in ("faces.csv", "img"):
        (tmp_path / name).rename(tmp_path / "else" / name)
    assert key(tmp_path / "else" / "faces.csv") == before


def test_a_plan_takes_options_from_the_name_and_beside_it(faces):
    def plan(tasks, **options):
        request = Request(
            ["scratch"], tasks, options=options, results=faces.parent / "results", use_plugins=False
        )
        return [cell.task.name for cell in make_plan(request).cells]

    assert plan([f"csv:{faces}+target=pain"]) == ["csv:faces.csv+target=pain"]
    assert plan([f"csv:{faces}"], target="pain", unit="points") == ["csv:faces.csv+target=pain+unit=points"]
    assert plan([f"csv:{faces}", "synth-age"], target="pain") == ["csv:faces.csv+target=pain", "synth-age"]


def test_a_split_may_be_a_file(faces, tmp_path):
    split = load_task(f"csv:{faces}+split=balanced-3").split
    write_split(split, tmp_path / "mine.json")
    task = load_task(f"csv:{faces}+split={tmp_path}/mine.json")
    assert task.split.digest == split.digest == read_split(tmp_path / "mine.json").digest
    assert str(tmp_path) not in task.name
    with pytest.raises(SplitError, match="no split is called 'fgnet-4fold'"):
        load_task(f"csv:{faces}+split=fgnet-4fold")


@pytest.mark.parametrize("name", ["balanced-4", "leave-one-out", "balanced-3", "other-patients"])
def test_a_split_file_may_not_bear_the_name_of_other_folds(faces, tmp_path, name):
    """Results of the two would lie in one record; `other-patients` has too few patients here to be any."""
    split, path = load_task(f"csv:{faces}+split=balanced-2").split, tmp_path / "mine.json"
    write_split(dataclasses.replace(split, name=name), path)
    with pytest.raises(SplitError, match=rf"mine\.json: its folds aren't those of {name}") as caught:
        load_task(f"csv:{faces}+split={path}")
    assert '"name": "mine"' in caught.value.hint
    write_split(dataclasses.replace(split, name=f"my-{name}"), path)
    assert load_task(f"csv:{faces}+split={path}").name == f"csv:faces.csv+split=my-{name}"


def command(*words):
    """Exit status of a command line."""
    try:
        return main([str(word) for word in words])
    except SystemExit as left:
        return int(left.code or 0)


def test_the_command_line_checks_a_file_and_lists_its_problems(faces, capsys):
    with_column(faces, "mood", lambda number: number)
    assert command("data", "check", f"csv:{faces}", "-o", "target=pain", "--no-plugins") == 0
    assert "csv:faces.csv+target=pain" in capsys.readouterr().out
    assert command("data", "check", f"csv:{faces}", "--no-plugins") == 2
    assert "Say which to estimate: -o target=pain" in capsys.readouterr().err
    edit(faces, lambda number, line: line.replace("s3", "") if number in (13, 14) else line)
    assert command("data", "check", f"csv:{faces}", "-o", "target=pain", "--json", "--no-plugins") == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert [(problem["where"], problem["message"]) for problem in found["problems"]] == [
        (f"{faces}:14", "subject is empty"),
        (f"{faces}:15", "subject is empty"),
    ]


def test_a_run_leaves_a_record_without_a_path(faces, tmp_path):
    results = tmp_path / "results"
    record = comface_bench.run(
        "scratch+backbone=resnet18",
        f"csv:{faces}+pairs=pre-post+range=0:20+unit=points",
        "quick",
        results=results,
        folds=[0],
        device="cpu",
        image_size=32,
        epochs=1,
        pairs_per_epoch=16,
        precision="float32",
    )
    assert record.task.name == "csv:faces.csv+pairs=pre-post+range=0:20+unit=points"
    assert (record.task.target, record.task.unit) == ("pain", "points")
    assert set(record.units[0].metrics) == set(record.task.metrics) >= {"acc"}
    (path,) = results.rglob("*.json")
    text = path.read_text()
    assert json.loads(text)["task"]["data"] == "faces.csv"
    assert str(tmp_path) not in text
    assert "img/" not in text
