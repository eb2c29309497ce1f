"""The index of jobs: states as Slurm says them, what stays known when it forgets, and units that are done."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.errors import BenchError, ResultError
from comface_bench.execute.plan import Request
from comface_bench.execute.slurm_jobs import Job, JobIndex, submitted_units
from comface_bench.execute.sweep import make_sweep, run_batch


def make_job(number: str, *units: str) -> Job:
    return Job(
        number, "tiny · age", {unit: f"unit {unit}" for unit in units}, f"{number}_0_log.out", "2026-01-01"
    )


@pytest.fixture
def index(tmp_path: Path) -> JobIndex:
    return JobIndex(tmp_path)


def states(results: Path) -> dict[str, str]:
    return {unit.key: unit.state for unit in submitted_units(results)}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", "pending"),
        ("CONFIGURING", "pending"),
        ("REQUEUED", "pending"),
        ("RUNNING", "running"),
        ("COMPLETING", "running"),
        ("SUSPENDED", "running"),
        ("FAILED", "failed"),
        ("TIMEOUT", "failed"),
        ("OUT_OF_MEMORY", "failed"),
        ("COMPLETED", "failed"),  # there is no result
        ("CANCELLED", "cancelled"),
        ("NODE_FAIL", "lost"),
        ("PREEMPTED", "lost"),
    ],
)
def test_states_are_slurms_in_six_words(
    paper_slurm: Any, index: JobIndex, tmp_path: Path, said: str, state: str
) -> None:
    with index.lock():
        index.add([make_job("7_3", "a"), make_job("8", "b")])
    paper_slurm.show({"7_3": said, "8": "PENDING", "9": "FAILED"})
    assert states(tmp_path) == {"a": state, "b": "pending"}
    assert paper_slurm.questions()[-1].endswith("--jobs=7,8")


def test_accounts_tell_what_the_queue_has_forgotten(
    paper_slurm: Any, index: JobIndex, tmp_path: Path
) -> None:
    with index.lock():
        index.add([make_job("7_0", "a"), make_job("7_1", "b"), make_job("8", "c")])
    paper_slurm.show({"7_1": "RUNNING"})
    paper_slurm.keep({"7_0": "CANCELLED by 1000", "7_1": "PENDING", "8": "TIMEOUT"})
    assert states(tmp_path) == {"a": "cancelled", "b": "running", "c": "failed"}


def test_a_job_that_nobody_knows_is_lost_unless_it_came_to_its_end(
    paper_slurm: Any, index: JobIndex, tmp_path: Path
) -> None:
    with index.lock():
        index.add([make_job("7_0", "a"), make_job("7_1", "b")])
    index.logs.mkdir()
    (index.logs / "7_1_0_result.pkl").touch()
    assert states(tmp_path) == {"a": "lost", "b": "failed"}


def test_an_end_is_known_after_slurm_forgot_it(paper_slurm: Any, index: JobIndex, tmp_path: Path) -> None:
    with index.lock():
        index.add([make_job("7", "a")])
    paper_slurm.show({"7": "CANCELLED"})
    assert states(tmp_path) == {"a": "cancelled"}
    paper_slurm.show({})
    asked = len(paper_slurm.questions())
    assert states(tmp_path) == {"a": "cancelled"}
    assert len(paper_slurm.questions()) == asked


def test_a_result_counts_whatever_became_of_its_job(
    paper_slurm: Any, make_request: Callable[..., Request]
) -> None:
    request = make_request(folds=[0])
    (batch,) = make_sweep([request]).batches
    index = JobIndex(request.results)
    with index.lock():
        index.add([make_job("7", batch.units[0], "other")])
    paper_slurm.show({"7": "NODE_FAIL"})
    run_batch(batch)
    assert states(request.results) == {batch.units[0]: "done", "other": "lost"}


def test_the_last_job_of_a_unit_counts_and_others_are_forgotten(
    paper_slurm: Any, index: JobIndex, tmp_path: Path
) -> None:
    with index.lock():
        index.add([make_job("7", "a", "b"), make_job("8", "c")])
        index.add([make_job("9", "b", "c")])
    paper_slurm.show({"7": "FAILED", "9": "RUNNING"})
    units = submitted_units(tmp_path)
    assert [(unit.key, unit.state, unit.job) for unit in units] == [
        ("a", "failed", "7"),
        ("b", "running", "9"),
        ("c", "running", "9"),
    ]
    assert units[1].log == index.logs / "9_0_log.out"
    assert [job.id for job in index.read()] == ["7", "9"]


def test_results_of_somebody_else_are_shown(
    paper_slurm: Any, index: JobIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index.lock():
        index.add([make_job("7", "a")])
    before = (tmp_path / ".sweep" / "jobs.json").read_bytes()

    @contextlib.contextmanager
    def refuse(self: JobIndex) -> Iterator[None]:
        raise PermissionError(13, "Permission denied")
        yield

    monkeypatch.setattr(JobIndex, "lock", refuse)
    paper_slurm.show({"7": "CANCELLED"})
    assert states(tmp_path) == {"a": "cancelled"}
    assert (tmp_path / ".sweep" / "jobs.json").read_bytes() == before


def test_where_nothing_was_submitted_nothing_is_asked_or_made(paper_slurm: Any, tmp_path: Path) -> None:
    assert submitted_units(tmp_path / "results") == []
    assert not (tmp_path / "results").exists()
    assert not paper_slurm.questions()


def test_a_slurm_that_does_not_answer_is_no_lost_job(
    paper_slurm: Any, index: JobIndex, tmp_path: Path
) -> None:
    with index.lock():
        index.add([make_job("7", "a")])
    paper_slurm.break_down("slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(BenchError, match=r"Slurm doesn't answer: .*Unable to contact slurm controller"):
        submitted_units(tmp_path)
    assert index.read()[0].state == "pending"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": [{"id": "7"}]}', '{"jobs": 3}'])
def test_a_damaged_index_is_named(index: JobIndex, tmp_path: Path, text: str) -> None:
    with index.lock():
        (tmp_path / ".sweep" / "jobs.json").write_text(text)
    with pytest.raises(ResultError, match=r"jobs.json is damaged"):
        submitted_units(tmp_path)


def test_the_index_is_no_record(index: JobIndex, tmp_path: Path) -> None:
    from comface_bench.results.store import ResultStore

    with index.lock():
        index.add([make_job("7", "a")])
    assert json.loads((tmp_path / ".sweep" / "jobs.json").read_bytes())["jobs"][0]["id"] == "7"
    assert ResultStore(tmp_path).paths() == []
