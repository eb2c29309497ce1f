"""The command line of sweeps on Slurm: submitting, waiting, and `sweep status`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comface_bench.execute.slurm_jobs import JobIndex

pytest.importorskip("submitit", reason="needs the extra `slurm`")


@pytest.fixture
def words(data: Path, plugin: Path, tmp_path: Path) -> list[str]:
    """A sweep of two batches, of two folds each."""
    file = tmp_path / "slurm.toml"
    file.write_text("time = 30\n")
    text = (
        f"sweep --plugin {plugin} --method tiny,flat --task age --folds 0,1 --data {data} --device cpu"
        f" --results {tmp_path / 'results'} --slurm {file} --no-leaderboard"
        " -o split=balanced-4 -o image_size=16 -o epochs=1 -o pairs_per_epoch=16"
    )
    return text.split()


def test_a_sweep_is_submitted_once_and_followed(
    paper_slurm: Any, call: Callable[..., tuple[int, str, str]], words: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    status, out, _ = call(*words)
    assert status == 0
    assert out == (
        "submitted 4 units as 2 jobs: 1\n"
        f"See what becomes of them: comface-bench sweep status --results {results}\n"
    )
    paper_slurm.show({"1_0": "RUNNING", "1_1": "PENDING"})
    status, out, _ = call(*words)
    assert status == 0
    assert out.startswith("not submitted again, for their jobs wait or run: 4 units\n")
    paper_slurm.show({"1_0": "RUNNING", "1_1": "CANCELLED"})
    status, out, _ = call("sweep", "status", "--results", results)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:5]] == [
        "running",
        "running",
        "cancelled",
        "cancelled",
    ]
    assert "\n4 units: 2 running, 2 cancelled\n" in out
    assert "same sweep command submits" in out

    units = json.loads(call("sweep", "status", "--results", results, "--json")[1])
    assert {unit["job"] for unit in units} == {"1_0", "1_1"}
    assert set(units[0]) == {"unit", "key", "state", "job", "log"}
    assert units[0]["unit"].startswith("tiny · age")
    log = JobIndex(results).logs / "1_0_0_log.out"
    status, out, err = call("sweep", "status", "--results", results, "--unit", units[0]["key"][:12])
    assert (status, out, err) == (0, f"{log}\n", "It isn't there yet: job 1_0 is running.\n")
    log.touch()
    assert call("sweep", "status", "--results", results, "--unit", units[0]["key"])[2] == ""

    status, out, _ = call(*words)
    assert out.startswith("submitted 2 units as 1 job: 2\n")


def test_jobs_are_lines_of_json(
    paper_slurm: Any, call: Callable[..., tuple[int, str, str]], words: list[str], tmp_path: Path
) -> None:
    jobs = [json.loads(line) for line in call(*words, "--json")[1].splitlines()]
    assert [job["job"] for job in jobs] == ["1_0", "1_1"]
    assert [len(job["units"]) for job in jobs] == [2, 2]
    assert jobs[0]["log"] == str(tmp_path / "results" / ".sweep" / "jobs" / "1_0_0_log.out")


def test_waiting_ends_with_what_has_no_result(
    paper_slurm: Any,
    call: Callable[..., tuple[int, str, str]],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first job runs its batch while the command waits; the second is lost."""
    from submitit.core.utils import DelayedSubmission

    results = tmp_path / "results"

    def work(seconds: float) -> None:
        DelayedSubmission.load(JobIndex(results).logs / "1_0_submitted.pkl").result()
        paper_slurm.show({"1_0": "COMPLETED", "1_1": "NODE_FAIL"})

    paper_slurm.show({"1_0": "PENDING", "1_1": "RUNNING"})
    monkeypatch.setattr("comface_bench.cli.sweep_slurm.sleep", work)
    status, out, err = call(*words, "--wait")
    assert status == 1
    assert "4 units: 2 running, 2 pending\n" in err
    assert "4 units: 2 done, 2 lost\n" in err
    assert "flat · age+split=balanced-4" in err
    assert f"job 1_1 was lost; its log: {JobIndex(results).logs / '1_1_0_log.out'}" in err
    assert "tiny" in out


def test_when_all_is_done_nothing_is_submitted_and_the_pages_are_written(
    paper_slurm: Any, call: Callable[..., tuple[int, str, str]], words: list[str], tmp_path: Path
) -> None:
    place = words.index("--slurm")
    words.remove("--no-leaderboard")
    words[words.index("tiny,flat")] = "tiny"
    here = words[:place] + words[place + 2 :]
    assert call(*here, "--no-leaderboard")[0] == 0
    status, out, _ = call(*words)
    assert status == 0
    assert "submitted" not in out and not paper_slurm.submissions()
    assert (tmp_path / "results" / "leaderboard" / "README.md").exists()


def test_waiting_can_be_interrupted(
    paper_slurm: Any,
    call: Callable[..., tuple[int, str, str]],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    paper_slurm.show({"1_0": "PENDING", "1_1": "RUNNING"})
    monkeypatch.setattr("comface_bench.cli.sweep_slurm.sleep", interrupt)
    status, _, err = call(*words, "--wait")
    assert status == 130
    assert "the jobs go on" in err and "scancel" in err


def test_mistakes_are_answered_with_what_to_type(
    paper_slurm: Any, call: Callable[..., tuple[int, str, str]], words: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    status, _, err = call("sweep", "status", "--results", results)
    assert status == 2
    assert err == f"error: nothing was submitted for {results}\n" + (
        "Submit with: comface-bench sweep … --slurm FILE.toml\n"
    )
    status, _, err = call("sweep", "--method", "scratch", "--task", "synth-age", "--wait")
    assert (status, "--slurm FILE.toml" in err) == (2, True)
    status, _, err = call(*words, "--jobs", 2)
    assert (status, "--jobs is for workers on this machine" in err) == (2, True)
    (tmp_path / "slurm.toml").write_text("partitions = 'gpu'\n")
    status, _, err = call(*words)
    assert (status, "Did you mean partition" in err) == (2, True)
    (tmp_path / "slurm.toml").write_text("time = 5\n")
    call(*words)
    status, _, err = call("sweep", "status", "--results", results, "--unit", "nokey")
    assert (status, "no unit of what was submitted has the key nokey" in err) == (2, True)
