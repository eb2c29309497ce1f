"""Errors and the problems of a data set."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from comface_bench.core import errors
from comface_bench.core.errors import (
    BenchError,
    DataFormatError,
    DataMissingError,
    SplitError,
    StorageError,
    UnitError,
    UnknownNameError,
    UnlikePhotoError,
    UsageError,
    hide_paths,
)
from comface_bench.core.problems import DataProblemsError, Problem, ProblemList

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
]


def test_message_and_hint_are_kept_apart_and_shown_together():
    error = UsageError("what is wrong", "what to type")
    assert (error.message, error.hint) == ("what is wrong", "what to type")
    assert str(error) == "what is wrong\nwhat to type"
    assert str(UsageError("what is wrong")) == "what is wrong"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_failed_units_and_refused_photographs_exit_with_1(kind):
    assert issubclass(kind, BenchError)
    assert kind("x").exit_status == (1 if kind in (UnitError, UnlikePhotoError) else 2)


def test_names_nobody_knows_are_a_matter_of_usage():
    assert issubclass(UnknownNameError, UsageError)


def test_nothing_wrong_raises_nothing():
    ProblemList().raise_any()


def test_one_problem_reads_like_any_error():
    problems = ProblemList()
    problems.add("a.csv:3", "no number", "Write one.")
    with pytest.raises(DataFormatError) as caught:
        problems.raise_any()
    assert caught.value.message == "a.csv:3: no number"
    assert caught.value.hint == "Write one."
    assert caught.value.exit_status == 2


def test_of_many_the_first_is_reported_and_the_others_are_counted():
    problems = ProblemList()
    for line in range(3):
        problems.add(f"a.csv:{line}", "no number", f"Write {line}.")
    with pytest.raises(DataProblemsError) as caught:
        problems.raise_any()
    assert caught.value.message.startswith("a.csv:0: no number\nand 2 more; list them all: ")
    assert caught.value.hint == "Write 0."
    assert [problem.where for problem in caught.value.problems] == ["a.csv:0", "a.csv:1", "a.csv:2"]


def test_collecting_goes_on_behind_an_error():
    problems, inner = ProblemList(), ProblemList()
    inner.add("b", "one")
    inner.add("c", "two")
    with problems.collect():
        inner.raise_any()
    with problems.collect():
        raise SplitError("three", "Do this.")
    assert problems.found == (Problem("b", "one"), Problem("c", "two"), Problem("", "three", "Do this."))
    assert [str(problem) for problem in problems.found] == ["b: one", "c: two", "three"]
    assert len(problems) == 3


def test_missing_data_and_faults_of_the_code_are_passed_on():
    for error in (DataMissingError("not there"), KeyError("x")):
        with pytest.raises(type(error)), ProblemList().collect():
            raise error


def test_an_error_of_storage_is_one_of_the_system_and_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(StorageError("no room", "Make some.")))
    assert isinstance(error, OSError)
    assert (error.message, error.hint, str(error)) == ("no room", "Make some.", "no room\nMake some.")


FOLDERS = {
    Path("/srv/faces"): "DATA",
    Path("/srv/faces/cache"): "CACHE",
    Path("../study/FGNET"): "DATA",
    Path("FGNET"): "DATA",
    Path("/"): "RESULTS",
    Path(): "RESULTS",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/faces/images/1 2.png can't be decoded", "DATA/images/1 2.png can't be decoded"),
        ("/srv/faces is empty. See /srv/faces.", "DATA is empty. See DATA."),
        ("/srv/faces/cache/x and '/srv/faces'", "CACHE/x and 'DATA'"),
        ("/srv/faces2/x, /mnt/srv/faces/x", "PATH, PATH"),
        ("../study/FGNET/1.png, FGNET/2.png of FGNET", "DATA/1.png, DATA/2.png of FGNET"),
        ("[Errno 2] No such file: '/home/Jane Doe/x.png'", "[Errno 2] No such file: 'PATH'"),
        ('open("/home/jane/x.py", line 3), /opt/y.py:12: z', 'open("PATH", line 3), PATH:12: z'),
        ("error:/home/x; (/tmp/q) [/tmp/z] key=/opt/x", "error:PATH; (PATH) [PATH] key=PATH"),
        ("'/home/jane\nat /a/b", "'PATH\nat PATH"),
        ("file:///home/x, //home/jane/x", "PATH, PATH"),
        (r"C:\\Users\\jane\\x.txt \\\\srv\\share\\x D:/x/y".replace("\\\\", "\\"), "PATH PATH PATH"),
        (
            "see https://a.b/c/d, n/a, 3/4 of (N, 3, H/2) </b>",
            "see https://a.b/c/d, n/a, 3/4 of (N, 3, H/2) </b>",
        ),
        (
            "a/b, ./c, ../d, ~/e, 5 images / s, 7 = 14 / 2 /",
            "a/b, ./c, ../d, ~/e, 5 images / s, 7 = 14 / 2 /",
        ),
        ("", ""),
    ],
)
def test_places_of_the_machine_are_taken_out_and_nothing_else(text, shown):
    assert hide_paths(text, FOLDERS) == shown


def test_a_path_that_exists_is_taken_out_with_its_blanks(tmp_path):
    folder = tmp_path / "Jane Doe (old), 2"
    folder.mkdir()
    (folder / "a b.png").touch()
    for name in ("a b.png", "none.png", ""):
        assert hide_paths(f"can't open {folder / name} twice", {}) == "can't open PATH twice"
    assert hide_paths(f"can't open {folder}/x y.png", {folder: "DATA"}) == "can't open DATA/x y.png"


def test_a_folder_is_known_by_the_place_that_it_links_to(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "link", Path("link")):
        assert hide_paths(f"{tmp_path}/real/1 and {tmp_path}/link/2", {folder: "DATA"}) == "DATA/1 and DATA/2"
