"""The command `study`: what it plans, runs, writes and says."""

import json
import resource
import shutil
import time
from pathlib import Path

import pytest

from comface_bench.studies.study import study_names

OWN = """
task = "age"
method = "tiny"
protocol = "finetune"
options = { split = "balanced-4", image_size = 16, epochs = 1, pairs_per_epoch = 16 }
[study]
title = "Two heads"
metrics = ["mae", "pearson"]
[[run]]
study = { row = "{method}, difference" }
[[run]]
study = { row = "{method}, both features" }
options = { head = "concat" }
"""

LIGHT = """
from comface_bench.core.card import MethodCard, Preprocess


def card(name):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)})


CARDS = (card("light"), card("flat"))


def build(options, weights, seed):
    import torch

    pool = torch.nn.AdaptiveAvgPool2d(1)
    layers = [torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten()]
    if options["mode"] == "flat":
        layers[0].weight.data.zero_()
    return torch.nn.Sequential(*layers)
"""
"""Its import brings no torch along, as that of a method should."""


@pytest.fixture
def words(data, tmp_path):
    """The words of one's own study of two units; further words follow."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    fixed = ["--data", data, "--results", tmp_path / "results", "--no-plugins", "--device", "cpu"]
    return lambda *more: [str(word) for word in ("study", path, *fixed, "--no-figure", *more)]


def test_a_study_runs_writes_its_table_and_costs_little_once_it_is_done(words, call, tmp_path, imported):
    (tmp_path / "light.py").write_text(LIGHT)
    own = ("--plugin", tmp_path / "light.py", "--protocol", "linear", "--folds", "0")
    status, out, err = call(*words(*own, "--method", "light", "--dry-run"))
    assert status == 0, err
    assert "2 units: 0 done, 2 to run" in out
    assert not (tmp_path / "results").exists()

    # One of the methods fails, and the other has its numbers all the same; they are there for the next line.
    status, out, err = call(*words(*own, "--method", "light,flat", "--out", tmp_path / "out"))
    assert status == 1
    assert "2 units failed:" in err
    page = (tmp_path / "out" / "own.md").read_text()
    assert "1. flat, difference, age: failed&#58; " in page
    facts = json.loads((tmp_path / "out" / "own.json").read_text())
    assert [one["row"] for one in facts["rows"]] == [
        *("light, difference", "flat, difference", "light, both features", "flat, both features")
    ]
    for number, protocol in ((0, ""), (2, "+head=concat")):
        name = f"linear+epochs=1{protocol}+image_size=16+pairs_per_epoch=16"
        record = json.loads((tmp_path / "results" / "age+split=balanced-4" / name / "light.json").read_text())
        value = facts["rows"][number]["cells"][0]["value"]
        assert value == pytest.approx(record["summary"]["pooled"]["mae"]["value"], rel=1e-9)
        assert f"{value:.3f}" in page
        assert f"{value:.3f}" in (tmp_path / "out" / "own.tex").read_text()
        assert f"{value:.3f}" in out

    done = words(*own, "--method", "light")
    assert call(*done)[0] == 0
    folder = tmp_path / "results" / "studies"
    before = {path: path.read_bytes() for path in folder.glob("[!.]*")}
    assert {path.name for path in before} == {"own.md", "own.tex", "own.json"}
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    process, modules = imported(*done)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0, process.stderr
    assert "2 units: 2 done, 0 to run" in process.stderr
    assert {path: path.read_bytes() for path in folder.glob("[!.]*")} == before
    assert not {"torch", "pandas", "matplotlib"} & modules
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 3


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on(words, call, fork, plugin, tmp_path, monkeypatch):
    more = ("--plugin", plugin, "--method", "waiting", "--folds", "0,1", "-o", "head=difference")
    monkeypatch.setenv("TINY_WAITS", str(tmp_path / "results"))
    process = fork(["-m", "comface_bench", *words(*more)])
    end = time.monotonic() + 300
    while not (done := list((tmp_path / "results").rglob("waiting.json"))):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    monkeypatch.delenv("TINY_WAITS")
    kept = json.loads(done[0].read_text())["units"]
    status, _, err = call(*words(*more))
    assert status == 0, err
    assert "2 units: 1 done, 1 to run" in err
    units = json.loads(done[0].read_text())["units"]
    assert [unit for unit in units if unit["fold"] == kept[0]["fold"]] == kept
    assert len(units) == 2


def test_missing_data_and_weights_are_named_without_a_folder_of_this_machine(call, tmp_path):
    status, out, _ = call("study", "age", "--dry-run", "--results", tmp_path / "r", "--no-plugins")
    assert status == 0
    assert "missing: scratch, age" in out
    assert "needs" in out
    status, _, err = call("study", "age", "--results", tmp_path / "r", "--no-plugins")
    assert status == 2
    assert "nothing of age can run" in err
    assert "comface-bench study age --shipped" in err


def test_studies_are_listed_with_what_they_lack(call, tmp_path):
    status, out, err = call("study", "list", "--results", tmp_path / "r", "--no-plugins", "--json")
    assert status == 0, err
    rows = {row["study"]: row for row in map(json.loads, out.splitlines())}
    assert list(rows) == study_names()
    assert rows["age"]["lacks"] == [
        *("FGNET", "imagenet", "vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat", "farl", "pcl"),
    ]
    assert (rows["linear-heads"]["lacks"], rows["linear-heads"]["cells"]) == (["DISFA"], 0)
    assert "no protocol is called" in " ".join(rows["table-3"]["lacks"]) or rows["table-3"]["lacks"]


def test_the_list_says_how_long_what_is_left_may_take(call, tmp_path):
    shipped = Path(__file__).parents[2] / "leaderboards" / "results" / "synth-age"
    shutil.copytree(shipped / "probe+image_size=112", tmp_path / "r" / "synth-age" / "probe+image_size=112")
    words = [
        "study",
        "list",
        "--shipped",
        "--results",
        tmp_path / "r",
        "--no-plugins",
        "-o",
        "image_size=112",
    ]
    status, out, err = call(*words)
    assert status == 0, err
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "more than" in lines["label-fraction"] or " s " in lines["label-fraction"]
    assert "unknown" in lines["linear-heads"]
    assert "nothing" in lines["linear-heads"]


def test_a_copy_is_written_once_and_runs_as_the_study_does(call, tmp_path):
    copy = tmp_path / "mine.toml"
    status, out, _ = call("study", "linear-heads", "--copy", copy)
    assert status == 0
    assert f"comface-bench study {copy}" in out
    assert call("study", copy, "--shipped", "--dry-run", "--no-plugins")[0] == 0
    assert call("sweep", copy, "--task", "synth-au12", "--dry-run", "--no-plugins")[0] == 0
    status, _, err = call("study", "linear-heads", "--copy", copy)
    assert status == 2
    assert "there is such a file already" in err
    assert call("study", "linear-heads", "--copy", tmp_path / "mine.txt")[0] == 2


def test_wrong_names_are_answered(call):
    assert "Did you mean backbones" in call("study", "backbone")[2]
    assert "no method is called" in call("study", "age", "--method", "nothing")[2]
    assert "expected key=value" in call("study", "age", "-o", "x")[2]


def test_tables_of_other_data_are_other_files(words, call, tmp_path, monkeypatch):
    from comface_bench.cli import sweep

    monkeypatch.setattr(sweep, "run_sweep", lambda *_: [])
    (tmp_path / "light.py").write_text(LIGHT)
    own = (
        "--plugin",
        tmp_path / "light.py",
        "--protocol",
        "probe",
        "--method",
        "light",
        "--out",
        tmp_path / "out",
    )
    own = words(*own)
    text = (tmp_path / "own.toml").read_text()
    (tmp_path / "own.toml").write_text(
        text.replace(", epochs = 1, pairs_per_epoch = 16", "").replace('options = { head = "concat" }', "")
    )
    for more in ([], ["--shipped"], ["--small"], ["--shipped", "--small"]):
        call(*own, *more)
    written = {path.name for path in (tmp_path / "out").glob("*.*") if not path.name.startswith(".")}
    assert written == {
        f"own{data}.{kind}" for data in ("", "-shipped", "-small") for kind in ("md", "tex", "json")
    }
    commands = {data: json.loads((tmp_path / "out" / f"own{data}.json").read_text())["command"]
                for data in ("", "-shipped", "-small")}  # fmt: skip
    assert "--shipped" not in commands[""] and "--small" not in commands[""]
    assert "--shipped" in commands["-shipped"]
    assert "--small" in commands["-small"]
