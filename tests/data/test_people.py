"""One person under two names, and one picture of two people: found, and passed only where it is meant."""

from __future__ import annotations

import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import BenchError, DataFormatError
from comface_bench.core.names import find_spellings, spelling_key
from comface_bench.core.problems import DataProblemsError, ProblemList
from comface_bench.data.check import check_data
from comface_bench.data.manifest import Manifest
from comface_bench.data.splits import check_people
from comface_bench.data.task import load_task

ONE_NAME = [
    ("1", "01"),
    ("1", "1.0"),
    ("7", "007.00"),
    ("10", "10."),
    ("3", "3,0"),
    ("1031", "1,031"),
    ("100000", "1E+05"),
    ("12", "１２"),
    ("12", "١٢"),
    ("P1", "P01"),
    ("P1", "p1"),
    ("P01", "P-01"),
    ("P01", "P_1"),
    ("P01", "P 01"),
    ("P01", "P.01"),
    ("P01", "P01 "),
    ("P01", "\u00a0P01"),
    ("P01", "P\u200b01"),
    ("P01", "\ufeffP01"),
    ("P01", "'P01"),
    ("P01", "P–01"),
    ("P01", "(P01)"),
    ("P1", "Р1"),  # a Cyrillic capital
    ("Ａnna", "anna"),
    ("José", unicodedata.normalize("NFD", "José")),
    ("Straße", "STRASSE"),
    ("Mary Ann", "mary-ann"),
    ("ｶｵ", "カオ"),
    ("site1/P01", "Site 1 P1"),
    ("1-11", "01-11"),
    ("042-ll042", "042-LL042"),
    ("S1P10", "S01P10"),
]
TWO_NAMES = [
    ("P1", "P11"),
    ("1", "10"),
    ("1", "11"),
    ("10", "1.0"),
    ("100", "10"),
    ("1-11", "11-1"),
    ("1.1", "1.10"),
    ("1.5", "15"),
    ("P1", "P1a"),
    ("P1", "Q1"),
    ("P1", "1"),
    ("A+", "A"),
    ("01a1", "1a01"),
    ("0a3f", "a30f"),
    ("S1P10", "S11P0"),
    ("1e2", "100"),
    ("Hoa", "Hòa"),
    ("かき", "かぎ"),
    ("ハハ", "パパ"),
    ("Å", "A"),
    ("P1 a", "P1 b"),
    ("-", "+"),
    ("Anna", "Anne"),
]


@pytest.mark.parametrize(("name", "other"), ONE_NAME, ids=ascii)
def test_spellings_of_one_name_are_found(name, other):
    assert spelling_key(name) == spelling_key(other)
    assert len(find_spellings([name, "Zoe", other, name])) == 1


@pytest.mark.parametrize(("name", "other"), TWO_NAMES, ids=ascii)
def test_two_names_are_not_taken_for_one(name, other):
    assert find_spellings([name, other, name]) == []


COHORTS = {
    "DISFA": [f"SN{number:03d}" for number in range(1, 33)],
    "FG-NET": [f"{number:03d}" for number in range(1, 83)],
    "numbers": [str(number) for number in range(2000)],
    "letters": [f"{letter}{number}" for letter in "ABPQ" for number in range(1, 200)],
    "sites": [f"{site}-{number}" for site in range(1, 30) for number in range(1, 30)],
    "points": [f"{site}.{number}" for site in range(1, 30) for number in range(1, 30)],
    "hexadecimal": [f"{number:04x}" for number in range(0, 0x10000, 7)],
    "UNBC": [f"{number:03d}-ab{number:03d}" for number in range(1, 130)],
}


@pytest.mark.parametrize("cohort", COHORTS)
def test_different_people_of_one_cohort_are_no_spellings(cohort):
    assert find_spellings(COHORTS[cohort]) == []


def test_each_further_spelling_is_named_once():
    assert find_spellings(["1", "01", "001", "2"]) == [("001", "01"), ("001", "1")]


def table(subjects, contents=None, pain=None, video=False):
    count = len(subjects)
    images = tuple(f"{row}.png" for row in range(count))
    return Manifest(
        name="t",
        root=Path(),
        images=images,
        subjects=tuple(subjects),
        sessions=(None,) * count,
        phases=(None,) * count,
        labels={"pain": np.array(pain or range(count), dtype=float)},
        contents=tuple(contents or images),
        places=tuple(f"t.csv:{row + 2}" for row in range(count)),
        video=video,
    )


def check(*args, allowed="", **how):
    problems = ProblemList()
    notes = check_people(table(*args, **how), "pain", allowed, problems)
    return [(problem.where, problem.message, problem.remedy) for problem in problems.found], notes


def test_both_places_of_two_spellings_are_named_with_the_way_out():
    ((where, message, remedy),), notes = check(["P01", "P01", "P-01", "P2"])
    assert where == "t.csv:2"
    assert message == "subject 'P01' seems to be 'P-01' (t.csv:4) in another spelling"
    assert remedy.startswith("Write each name in one way")
    assert remedy.endswith("If they are two people: -o allow=alike-subjects")
    assert notes == []
    assert check(["P01", "P-01"], allowed="alike-subjects") == ([], [])


def test_pictures_of_two_people_are_named_once_for_the_two():
    ((where, message, remedy),), _ = check(["A", "A", "B", "B", "C"], "xyxyz", [1, 2, 1, 2, 3])
    assert where == "t.csv:4"
    assert message == "2.png of B is the same picture as 0.png of A (and 1 more such images)"
    assert remedy.endswith("If both are meant: -o allow=equal-images")
    assert check(["A", "A", "B", "B"], "xyxy", allowed="equal-images") == ([], [])


def test_a_picture_with_two_labels_is_named_and_with_one_is_noted():
    ((where, message, _),), _ = check(["A", "A", "B"], "xxz", [1, 2.5, 3])
    assert (where, message) == ("t.csv:3", "1.png is the same picture as 0.png, but its pain is 2.5, not 1")
    noted = ["images that equal another one of the same person: 1"]
    assert check(["A", "A", "B"], "xxz", [1, 1, 3]) == ([], noted)
    assert check(["A", "A"], "xx", [1, float("nan")])[0] == []


def test_copies_without_a_label_hide_none_of_two():
    ((where, message, _),), notes = check(["A"] * 5, "xxxxx", [np.nan, 1, np.nan, 1, 2.5])
    assert (where, message) == ("t.csv:6", "4.png is the same picture as 1.png, but its pain is 2.5, not 1")
    assert notes == ["images that equal another one of the same person: 3"]
    # Nor people: the one without a label is of somebody else.
    assert len(check(["A", "B", "B"], "xxx", [np.nan, 1, 1])[0]) == 1


def test_groups_of_equal_images_may_be_given():
    problems = ProblemList()
    check_people(table(["A", "A", "B", "C"]), "pain", "", problems, equal=[(0, 3), (1, 2)])
    assert [problem.message for problem in problems.found] == [
        "3.png of C is the same picture as 0.png of A",
        "2.png of B is the same picture as 1.png of A",
    ]


def test_frames_of_one_video_may_be_equal_but_not_those_of_two_people():
    problems, notes = check(["A", "A", "B"], "xxz", [1, 2, 3], video=True)
    assert problems == []
    assert notes == [
        "images that equal another one of the same person, with another pain, as where a camera stalls: 1"
    ]
    assert len(check(["A", "B"], "xx", [1, 1], video=True)[0]) == 1


def test_the_way_out_allows_both_where_both_are_found():
    both = "-o allow=alike-subjects-and-equal-images"
    problems, _ = check(["A", "a", "B"], "xyx", [1, 1, 1])
    assert [remedy.endswith(both) for _, _, remedy in problems] == [True, True]
    # An option that is typed already isn't taken back by following the advice.
    ((_, _, remedy),), _ = check(["A", "a", "B"], "xyx", [1, 1, 1], allowed="alike-subjects")
    assert remedy.endswith(both)
    assert check(["A", "a", "B"], "xyx", [1, 1, 1], allowed="alike-subjects-and-equal-images") == ([], [])


@pytest.fixture(scope="module")
def clean(tmp_path_factory, draw_image):
    """A table of five people with three images each."""
    root = tmp_path_factory.mktemp("people")
    rows = ["image,subject,pain"]
    for number in range(15):
        draw_image(root / f"{number}.png", seed=number)
        rows.append(f"{number}.png,P{1 + number // 3},{number % 3}")
    (root / "faces.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def faces(clean, tmp_path):
    return shutil.copytree(clean, tmp_path / "data") / "faces.csv"


TASK = "csv:{}+split=leave-one-out"


def test_checks_and_runs_stop_and_the_option_is_part_of_the_name(faces, call):
    faces.write_text(faces.read_text().replace(",P3,", ",p-02,"))
    name = TASK.format(faces)
    (problem,) = check_data(name).problems
    with pytest.raises(DataProblemsError) as caught:
        load_task(name)
    assert caught.value.problems == (problem,)
    status, _, err = call("run", "--method", "scratch", "--task", name, "--dry-run")
    assert status == 2
    assert "subject 'p-02' seems to be 'P2'" in err
    assert "-o allow=alike-subjects" in err
    option = problem.remedy.rpartition("-o ")[2]
    assert check_data(f"{name}+{option}").problems == ()
    assert load_task(f"{name}+{option}").name == f"csv:faces.csv+{option}+split=leave-one-out"


def test_a_copied_picture_stops_what_runs(faces):
    shutil.copy(faces.with_name("0.png"), faces.with_name("14.png"))
    with pytest.raises(DataProblemsError, match=r"14\.png of P5 is the same picture as 0\.png of P1"):
        load_task(TASK.format(faces))
    assert load_task(TASK.format(faces) + "+allow=equal-images").chosen["allow"] == "equal-images"


def test_nothing_is_allowed_by_default_and_keys_stay(faces):
    usual, plain = load_task(TASK.format(faces)), load_task(TASK.format(faces) + "+allow=none")
    assert usual.name == plain.name
    assert usual.chosen == plain.chosen
    assert "allow" not in usual.chosen


def test_pictures_of_one_set_are_looked_for_in_the_other(tmp_path, make_edema):
    make_edema(tmp_path / "Edema-A", [f"P{number}" for number in range(8)])
    make_edema(tmp_path / "Edema-B", ["P1", "P2"], seed=1000)
    assert load_task("edema-a2b", tmp_path)
    shutil.copy(
        tmp_path / "Edema-A" / "images" / "P3_1_pre.jpg", tmp_path / "Edema-B" / "images" / "P1_1_pre.jpg"
    )
    (problem,) = check_data("edema-a2b", tmp_path).problems
    assert "of Edema-B/P1 is the same picture as Edema-A/images/P3_1_pre.jpg" in problem.message


CHANGES = {
    "number": lambda name: name.replace("P", "P0"),
    "case": str.lower,
    "blank": lambda name: name.replace("P", "P "),
    "separator": lambda name: name.replace("P", "P-"),
    "form": lambda name: name.replace("P", "Ｐ"),
    "other": lambda name: f"{name}9",
}


@given(st.data(), st.integers(3, 5), st.sampled_from(sorted(CHANGES)), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_one_change_gives_the_right_task_or_a_named_problem(clean, data, people, change, what):
    """A subject, an image's name or a label of one row is changed: never another number without a word."""
    row, other = (data.draw(st.integers(0, 3 * people - 1)) for _ in range(2))
    lines = (clean / "faces.csv").read_text().splitlines()[: 1 + 3 * people]
    image, subject, pain = lines[1 + row].split(",")
    if what == 0:
        subject = CHANGES[change](subject)
    elif what == 1:
        image = f"{other}.png"
    elif what == 2:
        pain = str(other)
    else:
        subject = f"P{1 + other // 3}"
    changed = [*lines[: 1 + row], f"{image},{subject},{pain}", *lines[2 + row :]]
    (clean / "changed.csv").write_text("\n".join(changed) + "\n")
    problems, task = (), None
    try:
        task = load_task(f"csv:{clean / 'changed.csv'}+split=leave-one-out")
        for fold in range(len(task.folds)):
            for part in ("train", "validation", "test"):
                task.pairs(fold, part)
    except DataProblemsError as error:
        problems = error.problems
    except BenchError as error:
        assert isinstance(error, DataFormatError)
        assert "no pair" in error.message
        assert what == 0 or what == 3
        assert error.hint
        return
    wrong_name = what == 0 and change != "other"
    image_twice = what == 1 and other != row
    assert bool(problems) == (wrong_name or image_twice)
    if task is not None:
        found = dict(zip(task.table.images, zip(task.table.subjects, task.labels, strict=True), strict=True))
        assert found[image] == (subject, float(pain))
        assert len(found) == 3 * people


def images_of(counts):
    return [f"{subject:03d}A{age:02d}.JPG" for subject, count in enumerate(counts, 1) for age in range(count)]


@pytest.mark.parametrize("split", ["balanced-4", "balanced-2", "leave-one-out"])
@pytest.mark.parametrize("seed", range(6))
def test_advised_folds_fit(tmp_path, make_fgnet, seed, split):
    """What is advised runs at once; where nothing would, no folds are advised."""
    draw = random.Random(seed)
    counts = [draw.choice((1, 2, 3, 3)) for _ in range(draw.randint(1, 7))]
    make_fgnet(tmp_path / "FGNET", images_of(counts))
    problems = check_data(f"age+split={split}", tmp_path).problems
    for problem in problems:
        assert problem.remedy
        if "-o " in problem.remedy:
            advised = problem.remedy.rpartition("-o split=")[2]
            assert advised != split
            assert check_data(f"age+split={advised}", tmp_path).problems == ()
        else:
            assert problem.remedy.startswith(("Add ", "Pairs are of"))


@pytest.mark.parametrize(("count", "advised"), [(2, None), (3, "leave-one-out"), (7, "leave-one-out")])
def test_too_few_people_are_advised_to_leave_one_out(tmp_path, make_fgnet, count, advised):
    make_fgnet(tmp_path / "FGNET", images_of([3] * count))
    (problem,) = check_data("age+split=balanced-4", tmp_path).problems
    assert problem.message == f"split balanced-4: {count} subjects are too few for 4 folds"
    assert problem.remedy.rpartition("-o split=")[2] == (advised or problem.remedy)
