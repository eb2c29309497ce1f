"""Split files and rules that don't fit, and subjects without pairs."""

from __future__ import annotations

import json

import pytest

from comface_bench.data.splits import Fold, Split, read_split, write_split

FORM = 'It is JSON: {"name": …, "digest": …, "folds": [{"train": […], "validation": […], "test": […]}, …]}'
CORRECT = "Correct the file: each fold holds every subject once, in train, validation or test."
LEAVE_ONE_OUT = "Folds that fit: -o split=leave-one-out"


@pytest.fixture
def root(lay_out):
    return lay_out("FGNET")


@pytest.fixture
def path(root, tmp_path):
    """A good split file of the miniature's four subjects."""
    path = tmp_path / "work" / "mine.json"
    one, two = Fold(("001", "002"), ("003",), ("004",)), Fold(("003",), ("004",), ("001", "002"))
    three = Fold(("001", "002"), ("004",), ("003",))
    write_split(Split("mine", (one, two, three)), path)
    return path


def change(path, spoil):
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))


def put(fold, part, subjects):
    return lambda content: content["folds"][fold].update({part: subjects})


SPOILED = {
    "a subject twice in a part": (
        put(0, "train", ["001", "002", "002"]),
        "split mine, fold 0: 002 stand more than once",
        CORRECT,
    ),
    "a subject in two parts": (
        put(0, "train", ["001", "002", "004"]),
        "split mine, fold 0: 004 stand more than once",
        CORRECT,
    ),
    "a subject in all parts of a later fold": (
        put(1, "test", ["001", "002", "003", "004"]),
        "split mine, fold 1: 003, 004 stand more than once",
        CORRECT,
    ),
    "a fold that lacks a subject": (put(0, "train", ["001"]), "split mine, fold 0 lacks 002", CORRECT),
    "an empty part": (put(2, "validation", []), "split mine, fold 2: no subject in validation", CORRECT),
    "no folds": (lambda content: content.update(folds=[]), "split mine has no fold", CORRECT),
    "a name that can't be part of a file's": (
        lambda content: content.update(name="../mine"),
        "split '../mine': a name has only letters, digits, `.`, `_` and `-`",
        CORRECT,
    ),
    "no part": (
        lambda content: content["folds"][0].pop("validation"),
        "not a split file: 'validation' is missing",
        FORM,
    ),
    "no digest": (lambda content: content.pop("digest"), "not a split file: 'digest' is missing", FORM),
    "numbers for names": (
        put(0, "train", [1, 2]),
        "not a split file: a part of a fold is [1, 2], not a list of names in quotes",
        FORM,
    ),
    "a text for a list": (
        put(0, "test", "004"),
        'not a split file: a part of a fold is "004", not a list of names in quotes',
        FORM,
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_split_files_refused(root, path, refuse, name):
    spoil, message, remedy = SPOILED[name]
    change(path, spoil)
    refuse(root, [("", f"{path}: {message}", remedy)], "-o", f"split={path}")


@pytest.mark.parametrize("text", ["", "{", "001,002\n", "[]", "null", "{}", "\x00"])
def test_files_that_are_no_split(root, path, check, text):
    path.write_text(text)
    seen = check(root, "-o", f"split={path}")
    (problem,) = seen.found["problems"]
    assert seen.status == 2
    assert problem["message"].startswith(f"{path}: not a split file: ")
    assert problem["remedy"] == FORM


def test_a_split_file_that_is_not_there(root, path, refuse):
    path.unlink()
    hint = "Name a split file, or a rule: -o split=balanced-4"
    refuse(root, [("", f"{path}: can't be read: No such file or directory", hint)], "-o", f"split={path}")


def test_a_wrong_digest(root, path, refuse):
    digest = read_split(path).digest
    change(path, lambda content: content.update(digest="0" * 64))
    remedy = "Take the file as it was given out; if the folds are changed on purpose, correct its digest."
    message = f"{path}: its folds have digest {digest}, not {'0' * 64}"
    refuse(root, [("", message, remedy)], "-o", f"split={path}")


def test_the_same_digest_for_another_order_of_subjects(root, path, check):
    change(path, put(0, "train", ["002", "001"]))
    assert check(root, "-o", f"split={path}").status == 0


def test_an_unknown_and_a_missing_subject(root, path, refuse):
    for image in (root / "images").glob("004*"):
        image.rename(image.with_name(f"077{image.name[3:]}"))
    message = "split mine doesn't know subject 077 of FGNET"
    refuse(root, [("", message, LEAVE_ONE_OUT)], "-o", f"split={path}")
    for image in (root / "images").glob("077*"):
        image.unlink()
    refuse(root, [("", "FGNET lacks subject 004 of split mine", LEAVE_ONE_OUT)], "-o", f"split={path}")


def test_a_subject_that_is_tested_twice(root, path, refuse):
    one, two = Fold(("001", "002"), ("003",), ("004",)), Fold(("003",), ("001",), ("002", "004"))
    write_split(Split("mine", (one, two)), path)
    message = "split mine must test each subject once, but not so subjects 001, 003, 004"
    refuse(root, [("", message, "Put each subject into the test part of one fold.")], "-o", f"split={path}")


RULES = {
    "balanced-3": ("split balanced-3: 4 subjects are too few for 3 folds", LEAVE_ONE_OUT),
    "balanced-1": ("split balanced-1: there must be at least 2 folds", LEAVE_ONE_OUT),
    "random-4": (
        "no split is called 'random-4'. Did you mean balanced-4?",
        "Rules: balanced-4 (any number), leave-one-out; for patients"
        " with days also patient-days, other-patients, four-folds",
    ),
    "fgnet-4fold": ("FGNET lacks subjects 005, 006, 007, 008, 009 … of split fgnet-4fold", LEAVE_ONE_OUT),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_that_do_not_fit(root, refuse, rule):
    message, remedy = RULES[rule]
    refuse(root, [("", message, remedy)], "-o", f"split={rule}")


def test_two_subjects_are_too_few_to_leave_one_out(root, refuse):
    for image in [*(root / "images").glob("003*"), *(root / "images").glob("004*")]:
        image.unlink()
    message = "split leave-one-out: 2 subjects are too few to leave one out"
    remedy = "Add people with several images each: one at least trains, one validates and one is tested."
    refuse(root, [("", message, remedy)], "-o", "split=leave-one-out")


ADD_IMAGES = "Add images of people who have no pair, or take them out: "


def test_a_part_whose_only_subject_has_one_image(root, path, refuse):
    for age in ("09", "30a", "30b"):
        (root / "images" / f"004A{age}.JPG").unlink()
    # Alone in the test part of fold 0, and in the validation part of the others.
    reported = "FGNET: the evaluation subjects have no pair of rule 'all' (subjects 004)"
    parts = ("fold 0, test", "fold 1, validation", "fold 2, validation")
    problems = [("", f"age+split=mine, {part}: {reported}", ADD_IMAGES + "004") for part in parts]
    refuse(root, problems, "-o", f"split={path}")


def test_a_subject_with_one_image_is_reported_and_does_no_harm(root, check, draw_image):
    draw_image(root / "images" / "005A20.JPG", seed=50)
    seen = check(root)
    assert seen.status == 0
    assert seen.found["per_subject"]["005"] == {"images": 1, "labelled": 1, "train_pairs": 0, "test_pairs": 0}
    assert "subjects with one image, who have no pair: 1 (005)" in seen.found["notes"]


def test_couples_without_a_change_are_pairs(root, check):
    seen = check(root)
    assert (seen.status, seen.found["pairs"], seen.found["zero_change_pairs"]) == (0, 24, 4)


def test_a_fold_without_a_pair_of_both_phases(lay_out, refuse, tmp_path):
    root = lay_out("Edema-A")
    table = root / "manifest.csv"
    lines = [line for line in table.read_text().splitlines(True) if not (",P4," in line and ",post," in line)]
    table.write_text("".join(lines))
    folds = [
        Fold(("P1", "P2"), ("P3",), ("P4",)),
        Fold(("P3", "P4"), ("P1",), ("P2",)),
        Fold(("P2", "P4"), ("P1",), ("P3",)),
        Fold(("P2", "P4"), ("P3",), ("P1",)),
    ]
    path = tmp_path / "work" / "mine.json"
    write_split(Split("mine", tuple(folds)), path)
    reported = "Edema-A: the evaluation subjects have no pair of rule 'pre-post' (subjects P4)"
    refuse(
        root,
        [("", f"edema-a+split=mine, fold 0, test: {reported}", ADD_IMAGES + "P4")],
        "-o",
        f"split={path}",
    )
