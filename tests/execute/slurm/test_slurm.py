"""Submission to Slurm: the settings, what becomes an array, what is left out, and the job itself."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.errors import BenchError, UnitError, UsageError
from comface_bench.core.files import file_lock
from comface_bench.execute import slurm
from comface_bench.execute.plan import Request
from comface_bench.execute.slurm import BatchJob, SlurmSettings, read_settings, submit
from comface_bench.execute.slurm_jobs import JobIndex
from comface_bench.execute.sweep import CLAIMS, Batch, make_sweep
from comface_bench.results.store import ResultStore

submitit = pytest.importorskip("submitit", reason="needs the extra `slurm`")

MakeRequest = Callable[..., Request]


def make_batch(*units: str, seconds: float | None = None) -> Batch:
    request = Request(methods=["tiny"], tasks=["age"], units=units)
    return Batch(
        request, units, tuple(f"unit {unit}" for unit in units), "tiny · age", seconds, "+".join(units)
    )


@pytest.fixture
def write_settings(tmp_path: Path) -> Callable[[str], SlurmSettings]:
    def write(text: str) -> SlurmSettings:
        path = tmp_path / "slurm.toml"
        path.write_text(text)
        return read_settings(path)

    return write


@pytest.fixture
def settings(write_settings: Callable[[str], SlurmSettings]) -> SlurmSettings:
    return write_settings("time = 30")


def test_settings_reach_sbatch(
    paper_slurm: Any, write_settings: Callable[[str], SlurmSettings], tmp_path: Path
) -> None:
    settings = write_settings(
        """
        partition = "gpu"
        account = "lab"
        qos = "long"
        time = "1-02:30:00"
        memory = "16G"
        cores = 4
        gpus = 1
        at_once = 2
        setup = ["module load cuda"]
        [extra]
        constraint = "a100|h100"
        exclusive = true
        """
    )
    submit([make_batch(name) for name in "abc"], settings, tmp_path / "results")
    (text,) = paper_slurm.submissions()
    stated = set(re.findall(r"#SBATCH --(.*)", text))
    assert stated >= {
        "partition=gpu",
        "account=lab",
        "qos=long",
        f"time={26 * 60 + 30}",
        "mem=16G",
        "cpus-per-task=4",
        "gpus-per-node=1",
        "array=0-2%2",
        "constraint='a100|h100'",
        "exclusive",
        "signal=USR2@120",
        "open-mode=append",
    }
    lines = text.splitlines()
    assert lines.index("export OMP_NUM_THREADS=4") < lines.index("module load cuda")
    # srun doesn't take them over from sbatch.
    assert re.search(r"^srun .*--cpus-per-task=4 ", text, re.MULTILINE)


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 30), (3, 90), (4, 120), (600, 120)])
def test_a_short_job_is_not_told_to_end_when_it_begins(
    settings: SlurmSettings, minutes: int, seconds: int
) -> None:
    assert settings.parameters(minutes, jobs=1)["signal_delay_s"] == seconds


def test_what_is_not_set_is_left_to_slurm(paper_slurm: Any, settings: SlurmSettings, tmp_path: Path) -> None:
    submit([make_batch(str(number)) for number in range(300)], settings, tmp_path / "results")
    (text,) = paper_slurm.submissions()
    assert not re.search("partition|--mem|cpus|gpus|account|qos|THREADS", text)
    assert "#SBATCH --array=0-299%300\n" in text


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ('"90m"', 90), ('"4h"', 240), ('"2d"', 2880), ('"1-12:00:00"', 2160), ('"0:30:01"', 31)],
)
def test_times_are_read_in_several_forms(
    write_settings: Callable[[str], SlurmSettings], text: str, minutes: int
) -> None:
    assert write_settings(f"time = {text}").time == minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('partitoin = "gpu"', r"slurm.toml: no setting is called 'partitoin'. Did you mean partition"),
        ("cpus_per_task = 4", "no setting is called 'cpus_per_task'"),
        ("time = 0", "slurm.toml: time = 0 isn't a number of minutes"),
        ('time = "10:30"', "time = '10:30' isn't"),
        ("time = true", "time = True isn't"),
        ("time = 1.5", "time = 1.5 isn't"),
        ("memory = 16", 'memory = 16 isn\'t such as "800M" or "16G"'),
        ('memory = "16"', "memory = '16' isn't"),
        ("cores = 0", "cores = 0 isn't a whole number from 1"),
        ("gpus = -1", "gpus = -1 isn't a whole number from 0"),
        ("gpus = false", "gpus = False isn't"),
        ('setup = "module load cuda"', "setup = 'module load cuda' isn't a list of lines"),
        ("[extra]\nnodes = [1]", "extra = .* isn't a table"),
        ("time = 30\npartition = gpu", r"slurm.toml: .*line 2"),
    ],
)
def test_settings_that_are_wrong_are_named(
    write_settings: Callable[[str], SlurmSettings], text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        write_settings(text)


def test_a_file_of_settings_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.toml can't be read: No such file") as caught:
        read_settings(tmp_path / "none.toml")
    assert 'partition = "gpu"' in caught.value.hint


def test_batches_of_similar_estimate_share_an_array_and_its_time(
    paper_slurm: Any, write_settings: Callable[[str], SlurmSettings], tmp_path: Path
) -> None:
    seconds = {"a": 5, "b": 9000, "c": 590, "d": 8000, "e": 601}
    batches = [make_batch(name, seconds=estimate) for name, estimate in seconds.items()]
    jobs = submit(batches, write_settings("cores = 1"), tmp_path / "results").jobs
    assert [(job.id, *job.units) for job in jobs] == [
        ("1_0", "b"),
        ("1_1", "d"),
        ("2", "e"),
        ("3_0", "a"),
        ("3_1", "c"),
    ]
    limits = [re.search(r"--time=(\d+)", text)[1] for text in paper_slurm.submissions()]  # type: ignore[index]
    assert limits == ["480", "120", "30"]


def test_a_time_that_nothing_tells_must_be_given(
    paper_slurm: Any, write_settings: Callable[[str], SlurmSettings], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"slurm\.toml has no time, and no earlier unit"):
        submit([make_batch("a", seconds=5), make_batch("b")], write_settings(""), tmp_path / "results")
    assert not paper_slurm.submissions()


def test_more_batches_than_an_array_takes_are_several(
    paper_slurm: Any, settings: SlurmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_LONGEST_ARRAY", 2)
    jobs = submit([make_batch(name) for name in "abcde"], settings, tmp_path / "results").jobs
    assert [job.id for job in jobs] == ["1_0", "1_1", "2_0", "2_1", "3"]


def test_units_whose_job_waits_or_runs_are_not_submitted_again(
    paper_slurm: Any, settings: SlurmSettings, tmp_path: Path
) -> None:
    batches = [make_batch("a", "b"), make_batch("c"), make_batch("d"), make_batch("e")]
    first = submit(batches, settings, tmp_path / "results")
    assert (len(first.jobs), first.live) == (4, ())
    paper_slurm.show({"1_0": "RUNNING", "1_1": "PENDING", "1_2": "CANCELLED", "1_3": "FAILED"})
    # "a" was finished in between, and "x" was asked for only now.
    batches = [make_batch("b", "x"), *batches[1:]]
    second = submit(batches, settings, tmp_path / "results")
    assert [tuple(job.units) for job in second.jobs] == [("x",), ("d",), ("e",)]
    assert [job.id for job in second.live] == ["1_0", "1_1"]
    job = submitit.core.utils.DelayedSubmission.load(
        JobIndex(tmp_path / "results").logs / "2_0_submitted.pkl"
    )
    assert job.function._batch.request.units == job.function._batch.units == ("x",)
    assert job.function._batch.labels == ("unit x",)


def test_what_slurm_refuses_is_said_and_earlier_arrays_are_known(
    paper_slurm: Any, settings: SlurmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(slurm, "_LONGEST_ARRAY", 1)
    submit_array = slurm._submit_array

    def submit_then_refuse(*arguments: Any) -> Any:
        jobs = submit_array(*arguments)
        paper_slurm.refuse("sbatch: error: invalid partition specified: gpu")
        return jobs

    monkeypatch.setattr(slurm, "_submit_array", submit_then_refuse)
    with pytest.raises(BenchError, match="Slurm took no job: sbatch: error: invalid partition") as caught:
        submit([make_batch("a"), make_batch("b")], settings, tmp_path / "results")
    assert caught.value.hint == f"Correct {settings.path}."
    assert [job.id for job in JobIndex(tmp_path / "results").read()] == ["1"]
    assert capfd.readouterr() == ("", "")


def test_a_job_that_submits_does_not_pass_its_limits_on(
    paper_slurm: Any, settings: SlurmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "own.conf")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    submit([make_batch("a")], settings, tmp_path / "results")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    submit([make_batch("b")], settings, tmp_path / "results")
    outside, inside = paper_slurm.environments()
    assert "SLURM_CONF=own.conf" in outside and "SLURM_MEM_PER_CPU=100" in outside
    assert "SLURM_CONF=own.conf" in inside and not re.search("^SLURM_(MEM|JOB)", inside, re.MULTILINE)
    assert os.environ["SLURM_MEM_PER_CPU"] == "100"


def test_without_slurm_nothing_is_submitted(
    settings: SlurmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no program sbatch"):
        submit([make_batch("a")], settings, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_job_runs_what_is_missing_and_nothing_twice(
    paper_slurm: Any, settings: SlurmSettings, make_request: MakeRequest, capsys: Any
) -> None:
    request = make_request(folds=[0, 1])
    (job,) = submit(make_sweep([request]).batches, settings, request.results).jobs
    path = JobIndex(request.results).logs / f"{job.id}_submitted.pkl"
    for _ in range(2):  # Slurm lets it run again after a node was lost.
        result = submitit.core.utils.DelayedSubmission.load(path).result()
        assert result.done == tuple(job.units)
    assert ResultStore(request.results).finished_keys() == set(job.units)
    assert (request.results / "journal.jsonl").read_text().count('"end"') == 2
    assert "fold 1 · seed 0: mae" in capsys.readouterr().out


def test_a_job_whose_unit_fails_says_so_to_slurm(make_request: MakeRequest) -> None:
    (batch,) = make_sweep([make_request(methods=["broken"], folds=[0])]).batches
    with pytest.raises(UnitError, match=r"1 of 1 units failed: broken · .*wires crossed"):
        BatchJob(batch, requeues=1)()


def test_a_job_waits_for_units_that_its_former_self_still_holds(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = make_sweep([make_request(folds=[0])]).batches
    claims = batch.request.results / CLAIMS
    claims.mkdir(parents=True)
    (claims / "other.json").write_text(f'["{batch.units[0]}"]')
    rounds = []
    lock = file_lock(claims / "other.lock")
    lock.__enter__()

    def let_go(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            lock.__exit__(None, None, None)

    monkeypatch.setattr("comface_bench.execute.slurm.sleep", let_go)
    assert BatchJob(batch, requeues=1)().done == batch.units
    assert len(rounds) == 2


def test_a_job_gives_up_on_units_that_another_sweep_keeps(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = make_sweep([make_request(folds=[0])]).batches
    claims = batch.request.results / CLAIMS
    claims.mkdir(parents=True)
    (claims / "other.json").write_text(f'["{batch.units[0]}"]')
    monkeypatch.setattr("comface_bench.execute.slurm.sleep", lambda seconds: None)
    with file_lock(claims / "other.lock"), pytest.raises(UnitError, match="run by another sweep"):
        BatchJob(batch, requeues=1)()


def test_a_job_that_is_told_to_end_goes_back_to_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    job, leaving = BatchJob(make_batch("a"), requeues=2), threading.Event()
    monkeypatch.setattr("comface_bench.execute.slurm.LEAVING", leaving)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert job.checkpoint().function is job
    assert leaving.is_set()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job.checkpoint().function is job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    with pytest.raises(SystemExit, match="out of time after 2 requeues"):
        job.checkpoint()
