"""`comface-bench predict`: two photographs, a table, a folder; what is printed, written and refused."""

import csv
import json
import shutil

import pytest

import comface_bench as cb
from comface_bench.results.schema import text_digest


@pytest.fixture(scope="module")
def made(make_ages, tmp_path_factory):
    """A record with models, and its pictures of person 1 by age; nothing changes them."""
    folder = tmp_path_factory.mktemp("made")
    data = make_ages(folder / "data", ages=(2, 9, 31))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFACE_CACHE", str(folder / "cache"))
        cb.run(
            "scratch+backbone=resnet18",
            "age+split=balanced-4",
            "probe",
            data=data,
            results=folder / "results",
            image_size=16,
        )
    (record,) = (folder / "results").glob("age*/*/*.json")
    return record, sorted((data / "FGNET" / "images").glob("001A*"))


def answers(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    """The pictures of these tests show no faces."""
    monkeypatch.setattr("comface_bench.execute.models._open_finder", lambda: None)


def test_two_photographs(call, made):
    record, (young, middle, _) = made
    status, out, err = call("predict", "--model", record, young, middle)
    assert status == 0, err
    first, second = out.splitlines()
    assert first.startswith("age: ") and " years (" in first
    assert "4 models answered" in second and "test pairs of" in second
    status, out, _ = call("predict", "--model", record, young, middle, "--json", "--folds", "2")
    (found,) = answers(out)
    assert found["low"] <= found["change"] <= found["high"] and len(found["answers"]) == 1
    status, out, _ = call("predict", "--model", record, middle, young, "--json", "--folds", "2")
    assert answers(out)[0]["change"] == pytest.approx(-found["change"], abs=1e-9)


def test_a_table_of_pairs(call, made, tmp_path):
    record, (young, middle, old) = made
    table, out = tmp_path / "pairs.csv", tmp_path / "answers.csv"
    (tmp_path / "near.jpg").write_bytes(young.read_bytes())
    table.write_text(f"who,first,second\nanna,near.jpg,{old}\nben,{middle},{old}\n")
    status, said, err = call("predict", "--model", record, table, "--out", out)
    assert status == 0, err
    assert "2 of 2 pairs answered" in said
    rows = list(csv.DictReader(out.open()))
    assert [row["who"] for row in rows] == ["anna", "ben"]
    _, alone, _ = call("predict", "--model", record, middle, old, "--json")
    assert float(rows[1]["change"]) == pytest.approx(answers(alone)[0]["change"], abs=1e-9)
    assert rows[0]["unit"] == "years" and rows[0]["refused"] == ""
    status, said, _ = call("predict", "--model", record, table)
    assert status == 0 and said.count("\n") == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "columns first and second"),
        ("first,second\n", "columns first and second"),
        ("first,second\na.jpg\n", "pair 1 has too few"),
        ("first,second\na.jpg,b.jpg,c.jpg\n", "too many cells"),
        ("first,second,low,who,change\na.jpg,b.jpg,1,anna,2\n", "columns that answers have: change, low"),
        ("first,second,unit\na.jpg,b.jpg,kg\n", "columns that answers have: unit"),
        ("first,second,beyond,answers\na.jpg,b.jpg,1,2\n", "columns that answers have: answers, beyond"),
    ],
)
def test_a_table_of_something_else(call, text, said, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    status, _, err = call("predict", "--model", tmp_path / "r.json", tmp_path / "t.csv")
    assert status == 2 and said in err


def test_what_is_wrong_is_said_before_the_models_are_loaded(call, made, monkeypatch):
    record, (young, middle, _) = made
    monkeypatch.setattr("comface_bench.execute.models.load_model", lambda *_, **__: pytest.fail("loaded"))
    status, _, err = call("predict", "--model", record, young, middle, "--level", "95")
    assert (status, "Such as 0.95." in err) == (2, True)
    status, _, err = call("predict", "--model", record, young, middle, "--device", "gpu0")
    assert (status, "no device is called 'gpu0'" in err) == (2, True)
    words = ["explain", "--model", record, young, middle, "--json", "--window", "3"]
    status, _, err = call(*words)
    assert (status, "a window of 3 isn't a share" in err) == (2, True)


def test_the_records_of_a_folder_are_named(call, made):
    record, (young, middle, _) = made
    status, _, err = call("predict", "--model", record.parents[2], young, middle)
    assert (status, f"  {record}\n" in err) == (2, True)


def test_a_folder_without_folders_is_said_to_be_one_persons(call, made, tmp_path):
    record, pictures = made
    for file in pictures:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    status, _, err = call("predict", "--model", record, tmp_path)
    assert status == 0
    assert "3 photographs taken as one person's; a folder for each person parts them" in err


def test_a_table_without_pairs_is_told_its_columns(call, tmp_path):
    (tmp_path / "t.csv").write_text("before,after\na.jpg,b.jpg\n")
    status, _, err = call("predict", "--model", tmp_path / "r.json", tmp_path / "t.csv")
    assert (status, "it has before, after" in err) == (2, True)


def test_folders_are_compared_person_by_person(call, made, tmp_path):
    record, pictures = made
    other = sorted(pictures[0].parent.glob("002A*"))
    for person, files in {"p1": pictures, "p2": other[:2]}.items():
        (tmp_path / "all" / person).mkdir(parents=True)
        for file in files:
            (tmp_path / "all" / person / file.name).write_bytes(file.read_bytes())
    (tmp_path / "all" / "p2" / "notes.txt").write_text("no picture")
    status, out, err = call("predict", "--model", record, tmp_path / "all", "--json")
    assert status == 0, err
    named = [(one["first"].rpartition("/")[2], one["second"].rpartition("/")[2]) for one in answers(out)]
    names = [file.name for file in pictures]
    assert named == [(names[0], names[1]), (names[0], names[2]), (other[0].name, other[1].name)]
    (tmp_path / "empty").mkdir()
    status, _, err = call("predict", "--model", record, tmp_path / "empty")
    assert status == 2 and "no two photographs" in err


def test_refused_photographs_are_said_and_count(call, made, draw_image, tmp_path):
    record, (young, middle, _) = made
    grey = draw_image(tmp_path / "grey.png", 1, (20, 20), "L")
    status, out, err = call("predict", "--model", record, young, grey)
    assert (status, out) == (1, "")
    assert f"refused: {grey} is grey" in err and "--any-photo" in err
    (tmp_path / "p.csv").write_text(f"first,second\n{young},{grey}\n{young},{middle}\n")
    status, out, _ = call("predict", "--model", record, tmp_path / "p.csv", "--json")
    refused, answered = answers(out)
    assert status == 1 and "is grey" in refused["refused"] and "change" not in refused
    assert "change" in answered
    status, out, _ = call("predict", "--model", record, young, grey, "--any-photo", "--json")
    assert status == 0 and "change" in answers(out)[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.jpg"], "Name two, the earlier first"),
        (["a.jpg", "b.jpg", "c.jpg"], "3 files"),
        (["none.csv"], "there is no table"),
        (["a.jpg", "b.jpg"], "there is no record none.json"),
    ],
)
def test_what_cant_be_meant(call, words, said):
    status, _, err = call("predict", "--model", "none.json", *words)
    assert status == 2 and said in err


def test_options_are_checked(call, made):
    record, (young, middle, _) = made
    for words, said in (
        (["--level", "95"], "isn't between 0 and 1"),
        (["--folds", "7"], "no unit of these folds"),
        (["--checkpoint", young], "Leave --checkpoint out"),
    ):
        status, _, err = call("predict", "--model", record, young, middle, *words)
        assert status == 2 and said in err
    status, _, err = call("export", record)
    assert status == 2 and "--onnx" in err
    status, _, err = call("export", record, "--onnx", "--out", "model.bin")
    assert status == 2 and "not called .onnx" in err


def test_run_plans_finished_units_whose_models_are_missing(call, made, tmp_path):
    record, (young, *_) = made
    shutil.copytree(record.parents[2], tmp_path / "results")
    data, results = young.parents[2], tmp_path / "results"
    words = ["run", "--method", "scratch+backbone=resnet18", "--task", "age+split=balanced-4", "--data", data]
    words += ["--protocol", "probe+image_size=16", "--results", results, "--dry-run", "--save-models"]
    assert "4 done, 0 to run" in call(*words)[1]
    (models,) = results.glob("*/*/*.models")
    sorted(models.iterdir())[0].unlink()
    assert "3 done, 1 to run" in call(*words)[1]
    assert "4 done, 0 to run" in call(*words[:-1])[1]


def test_a_strangers_unit_doesnt_reach_the_terminal(call, made, tmp_path):
    record, (young, middle, _) = made
    shutil.copytree(record.parents[2], tmp_path / "results")
    copy = tmp_path / "results" / record.relative_to(record.parents[2])
    facts = json.loads(copy.read_text())
    facts["task"]["unit"] = "\x1b[2Jyears"
    facts["digest"] = text_digest(facts)
    copy.write_text(json.dumps(facts, indent=1) + "\n")
    status, out, _ = call("predict", "--model", copy, young, middle)
    assert status == 0 and "\x1b" not in out and "years" in out
