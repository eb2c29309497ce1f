"""`run`: from names to records, table and pages; finished work costs nothing."""

import json
import signal
import time
from pathlib import Path

import pytest

from comface_bench.results.store import ResultStore


def test_run_leaves_record_table_and_page(call, run_words, tmp_path):
    status, out, err = call(*run_words("tiny", "--folds", "0,1"))
    assert status == 0
    (record,) = ResultStore(tmp_path / "results").records()
    assert record.summary.folds_done == [0, 1]
    heading, row, leaderboard, advice = out.splitlines()
    assert heading.split()[:2] == ["method", "task"]
    (path,) = ResultStore(tmp_path / "results").paths()
    assert (heading.split()[-1], row.split()[-1]) == ("record", str(path))
    assert advice == "next: the same command for all folds completes what has some"
    assert f"{record.summary.pooled['mae'].value:.3f} years" in row
    assert f"{record.summary.constant['mae'].value:.3f} years" in row
    assert " 2/4 " in row
    page = leaderboard.removeprefix("leaderboard: ")
    assert page.endswith(".md")
    assert "tiny" in (tmp_path / page).read_text()
    assert "epoch 2/2, validation loss" in err
    assert sum("validation loss" in line for line in err.splitlines()) == 2
    assert "2 units, 0 done" in err


def test_an_undertrained_record_says_so_in_table_and_json(call, run_words, events, monkeypatch):
    """Where the best epoch is the last one for half or more of the heads."""
    from comface_bench.results.schema import UNDERTRAINED, Record

    words = run_words("tiny", "--folds", "0", "--no-leaderboard")
    for undertrained in (True, False):
        monkeypatch.setattr(Record, "undertrained", undertrained)
        _, out, _ = call(*words)
        heading, row, _ = out.splitlines()
        assert ("note" in heading.split()) is (UNDERTRAINED in row) is undertrained
        (record,) = [event for event in events(call(*words, "--json")[1]) if event["kind"] == "record"]
        assert record["note"] == (UNDERTRAINED if undertrained else "")


@pytest.mark.parametrize("columns", [300, 140, 50])
def test_records_are_named_on_terminals_of_any_width(run_words, on_terminal, tmp_path, monkeypatch, columns):
    monkeypatch.chdir(tmp_path)
    lines = on_terminal(columns, *run_words("tiny", "--folds", "0", "--no-leaderboard"))
    (path,) = ResultStore(tmp_path / "results").paths()
    shown = str(path.relative_to(tmp_path))
    (line,) = [line for line in lines if shown in line]
    if columns == 300:
        assert line == lines[1]
    else:
        assert line == {140: f"record: {shown}", 50: f"  {shown}"}[columns]
    assert any("MAE" in line for line in lines)
    assert max(len(line) for line in lines if shown not in line and "next: " not in line) <= columns


def test_after_all_folds_predict_is_what_to_type(call, run_words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = run_words("flat", "--no-leaderboard", "--protocol", "probe", "-o", "image_size=16")
    words = [*words[: words.index("-o")], "-o", "split=balanced-4", "--device", "cpu", *words[-5:]]
    words[words.index("flat")] = "tiny"
    advice = call(*words)[1].splitlines()[-1]
    (path,) = ResultStore(tmp_path / "results").paths()
    plugin = Path(words[words.index("--plugin") + 1]).relative_to(tmp_path)
    named = f"--model {path.relative_to(tmp_path)} --plugin {plugin}"
    assert advice == f"next: comface-bench predict {named} BEFORE.jpg AFTER.jpg"
    # It is a line that works.
    pictures = sorted((tmp_path / "data" / "FGNET" / "images").iterdir())[:2]
    status, _, err = call("predict", *named.split(), *pictures, "--any-photo", "--device", "cpu")
    assert status == 0, err
    for model in path.with_suffix(".models").iterdir():
        model.unlink()
    assert call(*words)[1].splitlines()[-1].startswith("next: the same command with --save-models")


def test_after_two_methods_a_comparison_is_what_to_type(call, run_words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = run_words("tiny,flat", "--no-leaderboard", "--protocol", "probe", "-o", "image_size=16")
    words = [*words[: words.index("-o")], "-o", "split=balanced-4", "--device", "cpu", *words[-5:]]
    words[words.index("tiny,flat")] = "tiny,tiny+preprocess=imagenet"
    status, out, err = call(*words)
    assert status == 0, err
    advice = out.splitlines()[-1]
    assert advice.startswith("next: comface-bench results compare tiny ")
    assert "--task age+split=balanced-4 --protocol probe+image_size=16" in advice
    status, out, err = call(*advice.removeprefix("next: comface-bench ").split())
    assert status == 0 and "on age" in out, err


CONFIG = """
method = "tiny"
task = "age"
folds = [0, 1]
plugin = "tiny_methods.py"
no-plugins = true
device = "cpu"
data = "data"
options = { split = "balanced-4", image_size = 16, epochs = 1, pairs_per_epoch = 16 }
"""


def test_a_file_states_what_is_not_typed(call, run_words, events, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_words()
    (tmp_path / "mine.toml").write_text(CONFIG)
    planned = events(call("run", "--config", "mine.toml", "--dry-run", "--json")[1])
    assert [unit["fold"] for unit in planned] == [0, 1]
    assert {unit["protocol"] for unit in planned} == {"linear+epochs=1+image_size=16+pairs_per_epoch=16"}
    typed = ["--folds", "3", "-o", "epochs=2", "--protocol", "finetune", "--seeds", "4", "--method", "flat"]
    (unit,) = events(call("run", "--config", "mine.toml", "--dry-run", "--json", *typed)[1])
    assert (unit["method"], unit["fold"], unit["seed"]) == ("flat", 3, 4)
    assert unit["protocol"] == "finetune+epochs=2+image_size=16+pairs_per_epoch=16"
    values = ["split=balanced-4", "image_size=16", "epochs=1", "pairs_per_epoch=16"]
    typed = ["run", "--method", "tiny", "--task", "age", "--folds", "0,1", "--plugin", "tiny_methods.py"]
    typed += [word for value in values for word in ("-o", value)]
    typed += ["--no-plugins", "--data", "data", "--dry-run", "--json"]
    assert [unit["key"] for unit in events(call(*typed)[1])] == [unit["key"] for unit in planned]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metod = 'tiny'\n", "mine.toml:1: no key is called 'metod'. Did you mean method?"),
        ("task = 'age'\nseeds = -1\n", "mine.toml:2: seeds isn't a whole number"),
        ("[[run]]\nmethod = 'tiny'\n", "comface-bench sweep mine.toml"),
        ("[study]\ntitle = 'x'\n", "has a table [study]"),
        ("method = 'tiny'\nprotocol = 'linear,probe'\n", "mine.toml:2: a run has one protocol"),
        ("protocol = []\n", "mine.toml:1: a run has one protocol"),
        ("options = {epochs = [1, 2]}\n", "mine.toml:1: options: epochs has 2 values"),
        ("task = 'age'\n", "no method is named"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(call, tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    status, out, err = call("run", "--config", "mine.toml", "--task", "age", "--no-plugins")
    assert (status, out) == (2, "")
    assert told in err


def test_finished_run_imports_neither_torch_nor_pandas(call, run_words, imported):
    words = run_words("scratch", "-o", "backbone=resnet18", "--folds", "0")
    # The plugin file imports torch at its top.
    place = words.index("--plugin")
    words = words[:place] + words[place + 2 :]
    assert call(*words)[0] == 0
    process, modules = imported(*words)
    assert process.returncode == 0, process.stderr
    assert "1 unit, 1 done" in process.stderr
    assert "leaderboard: " in process.stdout
    assert "comface_bench.leaderboards.pages" in modules
    assert not modules & {"torch", "pandas", "scipy", "timm"}


def test_json_events_are_all_that_stdout_gets(call, run_words, events):
    status, out, err = call(*run_words("tiny", "--folds", "0", "--json"))
    assert (status, err) == (0, "")
    seen = events(out)
    kinds = [event["kind"] for event in seen]
    assert kinds[0] == "plan"
    assert {"stage", "progress", "epoch", "unit", "record"} <= set(kinds)
    assert seen[-1]["text"].startswith("leaderboard: ")
    unit = next(event for event in seen if event["kind"] == "unit")
    assert (unit["method"], unit["task"], unit["fold"], unit["seed"]) == (
        "tiny",
        "age+split=balanced-4",
        0,
        0,
    )


def test_dry_run_names_units_and_runs_none(call, run_words, events, tmp_path):
    assert call(*run_words("tiny", "--folds", "0"))[0] == 0
    _, out, _ = call(*run_words("tiny", "--dry-run", "--json"))
    units = events(out)
    assert [(unit["fold"], unit["done"]) for unit in units] == [(0, True), (1, False), (2, False), (3, False)]
    (record,) = ResultStore(tmp_path / "results").records()
    assert record.units[0].key == units[0]["key"]
    _, out, _ = call(*run_words("tiny", "--dry-run"))
    assert "4 units: 1 done, 3 to run" in out
    assert units[1]["key"][:12] in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "probe,linear"], "comface-bench sweep --protocol probe,linear"),
        (["-o", "precision=float32", "--precision", "bfloat16"], "precision is given twice"),
        (["--device", "gpu0"], "no device is called 'gpu0'"),
        (["--folds", "3-0"], "such as 0,1 or 0-3"),
        (["--folds", "0-99999999999"], "such as 0,1 or 0-3"),
    ],
)
def test_what_cant_be_meant_is_said_before_the_plan(call, monkeypatch, words, said):
    monkeypatch.setattr("comface_bench.execute.plan.make_plan", lambda _: pytest.fail("planned"))
    status, out, err = call("run", "--method", "comface", "--task", "synth-age", *words)
    assert (status, out, said in err) == (2, "", True), err


def test_folds_may_be_ranges(call, run_words, events):
    _, out, _ = call(*run_words("tiny", "--folds", "3,0-1", "--dry-run", "--json"))
    assert [unit["fold"] for unit in events(out)] == [0, 1, 3]
    assert "1 unit: 0 done, 1 to run" in call(*run_words("tiny", "--folds", "2", "--dry-run"))[1]


def test_dry_run_says_why_what_has_a_record_runs_again(call, run_words, data):
    words = run_words("tiny", "--folds", "0", "--no-leaderboard")
    assert "changed" not in call(*words, "--dry-run")[1]
    assert call(*words)[0] == 0
    assert "changed" not in call(*words, "--dry-run", "--again")[1]
    picture = data / "FGNET" / "images" / "001A60.JPG"
    picture.rename(picture.with_name("001A61.JPG"))
    lines = call(*words, "--dry-run")[1].splitlines()
    assert lines[-1].startswith("tiny · age+split=balanced-4 · linear")
    assert lines[-1].endswith(": the data changed (1 image renamed)")


def test_unit_runs_alone_by_the_key_that_dry_run_shows(call, run_words, events, tmp_path):
    key = events(call(*run_words("tiny", "--dry-run", "--json"))[1])[2]["key"]
    assert call(*run_words("tiny", "--unit", key[:12], "--no-leaderboard"))[0] == 0
    (record,) = ResultStore(tmp_path / "results").records()
    assert [unit.fold for unit in record.units] == [2]
    assert not (tmp_path / "results" / "leaderboard").exists()


def test_dry_run_says_why_something_is_skipped(call, run_words):
    words = run_words("tiny", "--dry-run")
    words[words.index("age")] = "[ad]*"
    words[words.index("split=balanced-4")] = "split=leave-one-out"
    _, out, _ = call(*words)
    assert "skipped: disfa-au1: task disfa-au1 needs" in out


def test_failed_unit_exits_1_and_is_named(call, run_words, tmp_path):
    status, out, err = call(*run_words("flat", "--folds", "0"))
    assert status == 1
    (line,) = (line for line in err.splitlines() if line.startswith("failed: "))
    assert line.count("fold 0 · seed 0: ") == 1
    assert "0/4 (1 failed)" in out
    (record,) = ResultStore(tmp_path / "results").records()
    assert record.failures
    assert not record.units


def test_debug_shows_the_traceback_of_a_failed_unit(call, run_words):
    assert "Traceback" not in call(*run_words("flat", "--folds", "0"))[2]
    assert "UnitError" in call(*run_words("flat", "--folds", "0", "--debug"))[2]


@pytest.mark.parametrize("words", [["--folds", "x"], ["--seeds", "-1"], ["--folds", "0,"], ["-o", "epochs"]])
def test_wrong_words_are_usage_errors(call, run_words, words):
    status, _, err = call(*run_words("tiny", *words))
    assert status == 2
    assert err.startswith(("error:", "Usage:"))


@pytest.mark.parametrize("option", ["--folds", "--seeds", "--protocol", "--device"])
def test_an_empty_text_is_not_taken_for_the_default(call, run_words, option, tmp_path):
    """As of a variable of the shell that was never set."""
    status, _, err = call(*run_words("tiny", option, ""))
    assert status == 2 and "error: " in err
    assert not list(tmp_path.glob("results/*/*/*.json"))


def test_fold_that_does_not_exist_is_refused(call, run_words):
    status, _, err = call(*run_words("tiny", "--folds", "9"))
    assert status == 2
    assert "Its folds are 0 to 3." in err


def test_interrupt_exits_130_and_keeps_finished_units(run_words, spawn, call, tmp_path, monkeypatch):
    # The second unit waits as soon as the first one's record is there.
    monkeypatch.setenv("TINY_WAITS", str(tmp_path / "results"))
    words = [*run_words("waiting"), "--protocol", "finetune", "-o", "batch_size=4", "--json"]
    process = spawn(*words)
    for line in process.stdout:
        if json.loads(line)["kind"] == "unit":
            break
    while not list((tmp_path / "results").rglob("waiting.json")):
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted; finished units are kept" in err
    assert "Traceback" not in err
    (record,) = ResultStore(tmp_path / "results").records()
    assert len(record.units) >= 1
    monkeypatch.delenv("TINY_WAITS")
    assert call(*words[:-1])[0] == 0
    (record,) = ResultStore(tmp_path / "results").records()
    assert record.summary.complete
