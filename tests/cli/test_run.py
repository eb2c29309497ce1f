"""`run`: from names to records, table and pages; finished work costs nothing."""

import json
import signal
import time

import pytest

from comface_bench.results.store import ResultStore


def test_run_leaves_record_table_and_page(call, run_words, tmp_path):
    status, out, err = call(*run_words("tiny", "--folds", "0,1"))
    assert status == 0
    (record,) = ResultStore(tmp_path / "results").records()
    assert record.summary.folds_done == [0, 1]
    heading, row, leaderboard = out.splitlines()
    assert heading.split()[:2] == ["method", "task"]
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
        heading, row = out.splitlines()
        assert heading.endswith(" note") is row.endswith(f" {UNDERTRAINED}") is undertrained
        (record,) = [event for event in events(call(*words, "--json")[1]) if event["kind"] == "record"]
        assert record["note"] == (UNDERTRAINED if undertrained else "")


def test_finished_run_imports_neither_torch_nor_pandas(call, run_words, imported):
    words = run_words("scratch", "-o", "backbone=resnet18", "--folds", "0")
    # The plugin file imports torch at its top.
    place = words.index("--plugin")
    words = words[:place] + words[place + 2 :]
    assert call(*words)[0] == 0
    process, modules = imported(*words)
    assert process.returncode == 0, process.stderr
    assert "1 units, 1 done" in process.stderr
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
    assert "failed: " in err
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
