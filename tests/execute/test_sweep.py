"""Sweeps: what they mean, how they are divided, and running a batch."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from comface_bench.core.files import file_lock
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.execute.sweep import CLAIMS, BatchResult, make_sweep, run_batch
from comface_bench.results.store import ResultStore

MakeRequest = Callable[..., Request]


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    """A plugin file with a second task on the data of `age`."""
    path = tmp_path / "more_tasks.py"
    path.write_text(
        "import dataclasses\n"
        "from comface_bench.tasks.fgnet import CARD as AGE\n"
        "CARDS = (dataclasses.replace(AGE, name='age-again'),)\n"
    )
    return path


def test_units_that_share_features_are_one_batch(make_request: MakeRequest, two_tasks: Path) -> None:
    files = [*make_request().plugin_files, two_tasks]
    request = make_request(
        methods=["tiny", "flat"], tasks=["age", "age-again"], seeds=[0, 1], plugin_files=files
    )
    sweep = make_sweep([request])
    assert len(sweep.cells) == 4
    assert [len(batch.units) for batch in sweep.batches] == [16, 16]
    assert all(batch.request.tasks == ("age", "age-again") for batch in sweep.batches)
    assert sorted(key for batch in sweep.batches for key in batch.units) == sorted(
        unit.key() for cell in make_plan(request).cells for unit in cell.missing
    )


def test_units_that_train_a_backbone_are_batches_of_their_own(make_request: MakeRequest) -> None:
    sweep = make_sweep([make_request(protocol="finetune")])
    assert [len(batch.units) for batch in sweep.batches] == [1] * 4
    assert len({batch.key for batch in sweep.batches}) == 4


def test_a_unit_that_two_requests_mean_is_planned_once(make_request: MakeRequest) -> None:
    sweep = make_sweep([make_request(folds=[0, 1]), make_request(folds=[1, 2])])
    assert [[unit.fold for unit in cell.units] for cell in sweep.cells] == [[0, 1], [2]]


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_batch_runs_in_another_process_as_it_was_planned(make_request: MakeRequest, protocol: str) -> None:
    request = make_request(protocol=protocol, folds=[0, 1])
    batches = make_sweep([request]).batches
    for batch in pickle.loads(pickle.dumps(batches)):
        assert run_batch(batch) == BatchResult(done=batch.units)
    assert not make_sweep([request]).batches
    assert not list((request.results / CLAIMS).glob("*.json"))


def test_an_option_of_another_method_does_not_reach_a_batch(make_request: MakeRequest) -> None:
    request = make_request(methods=["tiny", "scratch"], options={"backbone": "resnet18"}, folds=[0])
    tiny, scratch = make_sweep([request]).batches
    assert "backbone" not in tiny.request.options
    assert scratch.request.options["backbone"] == "resnet18"
    assert run_batch(tiny).done == tiny.units


def test_each_batch_plans_with_the_values_of_its_own_request(make_request: MakeRequest) -> None:
    requests = [make_request(options={"split": split}) for split in ("balanced-4", "leave-one-out")]
    batches = make_sweep(requests).batches
    assert [len(batch.units) for batch in batches] == [4, 8]
    assert [make_plan(batch.request).cells[0].task.name for batch in batches] == [
        "age+split=balanced-4",
        "age+split=leave-one-out",
    ]


def test_a_unit_that_fails_is_told_with_its_reason(make_request: MakeRequest) -> None:
    batch, broken = make_sweep([make_request(methods=["flat", "broken"], folds=[0])]).batches
    assert "same answer" in run_batch(batch).failed[0][1]
    assert run_batch(broken).failed == ((broken.units[0], "RuntimeError: wires crossed"),)


def test_data_that_changed_since_the_sweep_began_fail_their_units(
    make_request: MakeRequest, data: Path
) -> None:
    (batch,) = make_sweep([make_request()]).batches
    image = next(iter(sorted((data / "FGNET" / "images").iterdir())))
    image.rename(image.with_name("001A05.JPG"))
    result = run_batch(batch)
    assert not result.done
    assert [key for key, _ in result.failed] == list(batch.units)
    assert all("changed since the sweep began" in message for _, message in result.failed)
    assert not list(batch.request.results.glob("*/*/*.json"))


def test_units_that_another_sweep_runs_are_left_to_it(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sweeps, the second of which also wants other folds, and begins while the first runs."""
    first = make_request(folds=[0, 1])
    second = make_request(folds=[1, 2])
    (one,), (other,) = make_sweep([first]).batches, make_sweep([second]).batches
    seen: list[BatchResult] = []

    def run_second_too(*arguments: object) -> object:
        with monkeypatch.context() as normal:
            normal.setattr("comface_bench.execute.run.run_plan", run_plan)
            seen.extend([run_batch(other), run_batch(one)])
        return run_plan(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("comface_bench.execute.run.run_plan", run_second_too)
    result = run_batch(one)
    assert result == BatchResult(done=one.units)
    key_of = {unit.fold: unit.key() for cell in make_plan(make_request()).cells for unit in cell.units}
    assert seen == [BatchResult(done=(key_of[2],), busy=True), BatchResult(busy=True)]
    (record,) = ResultStore(first.results).records()
    assert [unit.fold for unit in record.units] == [0, 1, 2]


def test_claims_of_a_process_that_was_killed_hold_nobody_up(make_request: MakeRequest) -> None:
    request = make_request(folds=[0])
    (batch,) = make_sweep([request]).batches
    folder = request.results / CLAIMS
    folder.mkdir(parents=True)
    (folder / "0.lock").touch()
    (folder / "0.json").write_text(f'["{batch.units[0]}"]')
    with file_lock(folder / "0.lock"):
        assert run_batch(batch) == BatchResult(busy=True)
    assert run_batch(batch).done == batch.units
    assert not list(folder.glob("0.*"))
