"""The command `sweep`: what it plans, says and leaves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comface_bench.execute.sweep import BatchResult

TIMINGS = Path(__file__).parents[2] / "timings"


@pytest.fixture
def sweep_words(run_words):
    """The words of a small sweep; further words follow."""

    def words(method="tiny", *more):
        return ["sweep", *run_words(method, *more)[1:]]

    return words


def test_a_sweep_runs_says_why_and_goes_on(sweep_words, call, tmp_path):
    words = sweep_words("tiny,flat", "--folds", "0", "--no-leaderboard")
    status, out, _ = call(*words, "--dry-run")
    assert status == 0
    assert "never run" in out
    assert "2 units: 0 done, 2 to run in 2 batches; time unknown" in out
    assert not (tmp_path / "results").exists()

    status, out, err = call(*words)
    assert status == 1
    assert "1 unit failed:" in err
    assert "flat · age+split=balanced-4" in err
    assert [line.split()[0] for line in out.splitlines()] == ["method", "tiny", "flat"]

    status, out, _ = call(*words, "--dry-run")
    assert "failed before: " in out
    assert "same answer" in out
    assert "2 units: 1 done, 1 to run in 1 batch; about" in out

    # Both folds of another protocol, estimated by nothing, and fold 1 of this one by fold 0.
    status, out, _ = call(*sweep_words("tiny", "--protocol", "linear,probe", "--folds", "0,1"), "--dry-run")
    assert status == 0, out
    assert "4 units: 1 done, 3 to run" in out
    assert "nothing like 2 of them ran before" in out


def test_the_plan_lists_units_for_programs(sweep_words, call, events):
    status, out, _ = call(*sweep_words("tiny", "--folds", "0,1", "--task", "disfa-*"), "--dry-run", "--json")
    assert status == 0
    lines = events(out)
    units = [line for line in lines if "key" in line]
    assert [(unit["fold"], unit["done"], unit["reason"]) for unit in units] == [
        (0, False, "never run"),
        (1, False, "never run"),
    ]
    assert len({unit["batch"] for unit in units}) == 1
    skipped = [line for line in lines if "skipped" in line]
    assert len(skipped) == 12
    assert all(line["hint"] for line in skipped)


def test_a_study_in_a_file_is_overridden_by_the_command_line(sweep_words, call, events, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        'seeds = [0, 1]\nfolds = 0\nprotocol = "quick"\n'
        '[[run]]\noptions = { head = ["difference", "concat"] }\n[[run]]\nprotocol = "probe"\n'
    )
    words = [*sweep_words("tiny"), "--dry-run", "--json"]
    status, out, err = call(*words, study)
    assert status == 0, err
    plan = [
        (line["protocol"].split("+")[0], "concat" in line["protocol"], line["seed"]) for line in events(out)
    ]
    assert sorted(plan) == sorted(
        [("quick", concat, seed) for concat in (False, True) for seed in (0, 1)]
        + [("probe", False, seed) for seed in (0, 1)]
    )
    status, out, _ = call(*words, study, "--seeds", "3", "-o", "head=concat")
    assert {line["seed"] for line in events(out)} == {3}
    assert all("concat" in line["protocol"] for line in events(out) if "quick" in line["protocol"])


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        (["--shard", "3/2"], "--shard 3/2: expected i/n", "--shard 2/8"),
        (["--protocol", "linaer"], "Did you mean linear", "list protocols"),
        (["-o", "epochs"], "expected key=value", ""),
        (["missing.toml"], "missing.toml can't be read", ""),
    ],
)
def test_what_cannot_be_taken_is_said(sweep_words, call, more, message, hint):
    status, _, err = call(*sweep_words("tiny"), *more)
    assert status == 2
    assert message in err
    assert hint in err


def test_no_method_is_an_error_with_the_next_command(call):
    status, _, err = call("sweep", "--task", "synth-age")
    assert status == 2
    assert "no method is named" in err
    assert "comface-bench list methods" in err


def test_events_name_worker_batch_and_unit(sweep_words, call, events):
    status, out, _ = call(*sweep_words("tiny", "--folds", "0", "--no-leaderboard"), "--json")
    assert status == 0
    lines = events(out)
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "batch"
    assert kinds[-1] == "batch_end"
    (unit,) = [line for line in lines if line["kind"] == "unit"]
    assert lines[-1]["done"] == [unit["key"]] == lines[0]["units"]
    assert {line["worker"] for line in lines} == {0}


@pytest.fixture
def hand_over(monkeypatch):
    """Replace the workers by a function of batches; returns what they were asked for."""

    def replace(answer):
        asked = {}

        def run_batches(batches, **facts):
            asked.update(facts)
            return [answer(batch) for batch in batches]

        monkeypatch.setattr("comface_bench.execute.workers.run_batches", run_batches)
        return asked

    return replace


@pytest.mark.parametrize(
    ("more", "jobs", "devices"),
    [
        ([], 3, ("cuda:0", "cuda:1", "cuda:2")),
        (["--jobs", "2"], 2, ("cuda:0", "cuda:1", "cuda:2")),
        (["--gpus", "1,2"], 2, ("cuda:1", "cuda:2")),
        (["--gpus", "0", "--jobs", "2"], 2, ("cuda:0",)),
        (["--device", "cuda:1"], 1, ()),
        (["--device", "cpu", "--jobs", "2"], 2, ()),
    ],
)
def test_workers_and_their_devices(sweep_words, call, hand_over, monkeypatch, more, jobs, devices):
    asked = hand_over(lambda batch: BatchResult(done=batch.units))
    monkeypatch.setattr("comface_bench.cli.sweep._count_gpus", lambda: 3)
    words = sweep_words("tiny", "--folds", "0", "--no-leaderboard", "--timeout", "7", "--device", "auto")
    assert call(*words, *more)[0] == 0
    assert (asked["jobs"], asked["devices"], asked["stall_s"]) == (jobs, devices, 7)


def test_gpus_and_another_device_exclude_each_other(sweep_words, call):
    status, _, err = call(*sweep_words("tiny", "--gpus", "0"))
    assert status == 2
    assert "--gpus and a device of cpu exclude each other" in err


def test_units_that_another_sweep_runs_are_said(sweep_words, call, hand_over):
    hand_over(lambda batch: BatchResult(done=batch.units[:1], busy=True))
    status, _, err = call(*sweep_words("tiny", "--no-leaderboard"))
    assert status == 1
    assert "3 units left to another sweep" in err


def test_ctrl_c_says_how_to_go_on(sweep_words, call, hand_over):
    def interrupt(batch):
        raise KeyboardInterrupt

    hand_over(interrupt)
    status, _, err = call(*sweep_words("tiny"))
    assert status == 130
    assert "interrupted; finished units are kept\nThe same command goes on from there." in err


def test_results_that_cannot_be_written_are_said_before_workers_start(sweep_words, call, hand_over, tmp_path):
    asked = hand_over(lambda batch: BatchResult(done=batch.units))
    (tmp_path / "results").touch()
    status, _, err = call(*sweep_words("tiny"))
    assert status == 2
    assert "Name another folder: --results DIR" in err
    assert not asked


def test_a_finished_sweep_imports_no_torch(imported, tmp_path):
    """A small one of the sweep that `timings/sweep.py` measures."""
    script = (
        "import json, pathlib, sys; sys.path.insert(0, sys.argv[1]); import sweep;"
        "print(json.dumps(sweep.lay_out(pathlib.Path(sys.argv[2]), methods=3, tasks=2)))"
    )
    made = subprocess.run(
        [sys.executable, "-c", script, TIMINGS, tmp_path], capture_output=True, text=True, check=True
    )
    process, modules = imported(*json.loads(made.stdout))
    assert process.returncode == 0, process.stderr
    assert "24 units: 24 done, 0 to run" in process.stderr
    assert "leaderboard: " in process.stdout
    assert not {"torch", "pandas"} & modules
