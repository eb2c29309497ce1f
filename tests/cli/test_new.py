"""`new` and `test`: a plugin that works as soon as it is written."""

import json

import pytest


def test_a_new_task_passes_its_test_and_can_be_run(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("new", "task", "pain-diary")
    assert status == 0
    command = out.rpartition(": comface-bench ")[2].split()
    status, out, err = call(*command)
    assert (status, err) == (0, "")
    assert out.count("ok  ") == 6
    found = json.loads(call(*command, "--json")[1])
    assert all(item["holds"] for item in found)
    assert "pain-diary" in call("list", "tasks", "--plugin", "pain_diary.py")[1]


def test_a_broken_task_fails_its_test(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("new", "task", "toy")
    path = tmp_path / "toy.py"
    path.write_text(path.read_text().replace("label_range=(0, 10)", "label_range=(0, 1)"))
    status, out, _ = call("test", "task", "toy", "--plugin", "toy.py")
    assert status == 1
    assert "BROKEN" in out


@pytest.mark.parametrize(("kind", "name"), [("method", "comface"), ("task", "synth-age")])
def test_a_name_that_is_taken_is_refused(call, tmp_path, kind, name):
    status, _, err = call("new", kind, name, "--out", tmp_path)
    assert (status, f"a {kind} of comface-bench is called {name}" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_and_a_file_in_its_place_is_refused(call, tmp_path):
    assert call("new", "method", "my-net", "--out", tmp_path / "new" / "below")[0] == 0
    assert (tmp_path / "new" / "below" / "my_net.py").is_file()
    (tmp_path / "file").write_text("")
    for words in (
        ("new", "task", "mine"),
        ("study", "alignment"),
        ("leaderboard", "build", "--results", tmp_path),
    ):
        status, _, err = call(*words, "--out", tmp_path / "file")
        assert (status, f"{tmp_path / 'file'} isn't a folder" in err) == (2, True), err


def test_a_name_that_can_not_be_one_is_refused(call, tmp_path):
    status, _, err = call("new", "task", "My Task", "--out", tmp_path)
    assert status == 2
    assert "comface-bench new task my-task" in err


def test_a_new_method_passes_its_test_and_runs(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("new", "method", "my-net")
    assert status == 0
    command = out.rpartition(": comface-bench ")[2].split()
    status, out, err = call(*command, "--image-size", "64")
    assert (status, err) == (0, "")
    assert "fingerprint" in out.splitlines()[-1]
    small = ("-o", "image_size=32", "-o", "epochs=1", "-o", "pairs_per_epoch=16", "--folds", "0")
    words = (
        "run",
        "--method",
        "my-net",
        "--task",
        "synth-age",
        "--protocol",
        "quick",
        "--plugin",
        "my_net.py",
    )
    assert call(*words, *small, "--device", "cpu")[0] == 0


def test_a_broken_method_fails_its_test(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("new", "method", "toy")
    path = tmp_path / "toy.py"
    path.write_text(path.read_text().replace("feature_dim=64", "feature_dim=63"))
    status, out, _ = call("test", "method", "toy", "--plugin", "toy.py", "--json", "--image-size", "64")
    assert status == 1
    assert [item["rule"] for item in json.loads(out) if not item["holds"]] == [
        "features are numbers of the card's size"
    ]
