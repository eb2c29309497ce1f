"""Sweeps: what they mean, how they are divided, and running a batch."""

import contextlib
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.core.files import file_lock
from comface_bench.data.task import Task, open_task
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.execute.sweep import CLAIMS, Batch, BatchResult, Shard, _claim, make_sweep, run_batch
from comface_bench.results.schema import dump_json
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


def note_seconds(request: Request, seconds: float) -> None:
    """Let all stored units have taken so long."""
    store = ResultStore(request.results)
    for path in store.paths():
        record = store.load_at(path)
        units = [unit.model_copy(update={"seconds": seconds}) for unit in record.units]
        path.write_text(dump_json(record.model_copy(update={"units": units}).seal()))


@pytest.fixture
def stored(make_request: MakeRequest) -> Callable[..., list[Batch]]:
    """Run fold 0 of a request whose units seem to take so long; returns the batches of the others."""

    def store(seconds: float, **changes: Any) -> list[Batch]:
        request = make_request(folds=[0], **changes)
        run_plan(make_plan(request), request)
        note_seconds(request, seconds)
        return list(make_sweep([make_request(folds=[1, 2, 3], **changes)]).batches)

    return store


@pytest.mark.parametrize(
    ("seconds", "sizes"), [(10.0, [3]), (30.0, [2, 1]), (30.1, [1, 1, 1]), (900.0, [1, 1, 1])]
)
def test_short_units_are_joined(stored: Callable[..., list[Batch]], seconds: float, sizes: list[int]) -> None:
    batches = stored(seconds, protocol="finetune")
    assert [len(batch.units) for batch in batches] == sizes
    assert [batch.seconds for batch in batches] == [pytest.approx(seconds * size) for size in sizes]
    assert run_batch(batches[0]).done == batches[0].units


def test_long_work_comes_first_and_a_backbone_stays_together(
    make_request: MakeRequest, stored: Callable[..., list[Batch]]
) -> None:
    stored(100.0, protocol="finetune")
    request = make_request(protocol="finetune")
    other = make_request(protocol="finetune", methods=["scratch"], folds=[0, 1])
    sweep = make_sweep([other, request])
    # Both are estimated by what ran, and there is more left of tiny.
    assert [batch.request.methods for batch in sweep.batches] == [("tiny",)] * 3 + [("scratch",)] * 2
    unknown = make_request(methods=["scratch"], folds=[0])
    assert make_sweep([request, unknown]).batches[0].seconds is None


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_each_unit_is_in_one_shard(make_request: MakeRequest, two_tasks: Path, count: int) -> None:
    files = [*make_request().plugin_files, two_tasks]
    requests = [
        make_request(
            methods=methods, tasks=["age", "age-again"], protocol=protocol, plugin_files=files, seeds=seeds
        )
        for methods, protocol, seeds in ((["tiny", "flat"], "linear", [0]), (["tiny"], "finetune", [0, 1]))
    ]
    whole = {key for batch in make_sweep(requests).batches for key in batch.units}
    shards = [make_sweep(requests, Shard(number, count)) for number in range(1, count + 1)]
    keys = [[key for batch in shard.batches for key in batch.units] for shard in shards]
    assert sorted(key for part in keys for key in part) == sorted(whole)
    assert max(map(len, keys)) - min(map(len, keys)) <= 8  # the units that one batch of heads has
    again = [make_sweep(requests[::-1], Shard(number, count)) for number in range(1, count + 1)]
    assert [{key for batch in shard.batches for key in batch.units} for shard in again] == list(
        map(set, keys)
    )


def test_shards_stay_the_same_while_others_finish(make_request: MakeRequest) -> None:
    request = make_request(protocol="finetune")
    before = [make_sweep([request], Shard(number, 2)) for number in (1, 2)]
    assert [len(shard.batches) for shard in before] == [2, 2]
    assert run_batch(before[0].batches[0]).done
    after = [make_sweep([request], Shard(number, 2)) for number in (1, 2)]
    assert [[unit.key() for cell in shard.cells for unit in cell.units] for shard in after] == [
        [unit.key() for cell in shard.cells for unit in cell.units] for shard in before
    ]
    assert sum(len(batch.units) for batch in after[0].batches) == 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)


def test_each_task_is_opened_once(
    make_request: MakeRequest, two_tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [*make_request().plugin_files, two_tasks]
    requests = [
        make_request(methods=["tiny", "flat"], tasks=["age", "age-again"], protocol=name, plugin_files=files)
        for name in ("linear", "finetune")
    ]
    opened: Counter[str] = Counter()

    def count(entry: Any, *arguments: Any) -> Task:
        opened[entry.card.name] += 1
        return open_task(entry, *arguments)

    monkeypatch.setattr("comface_bench.execute.plan.open_task", count)
    make_sweep(requests)
    assert opened == {"age": 1, "age-again": 1}


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
    assert [len(batch.units) for batch in batches] == [8, 4]
    assert [make_plan(batch.request).cells[0].task.name for batch in batches] == [
        "age+split=leave-one-out",
        "age+split=balanced-4",
    ]


def test_a_unit_that_fails_is_told_with_its_reason(make_request: MakeRequest) -> None:
    batch, broken = make_sweep([make_request(methods=["flat", "broken"], folds=[0])]).batches
    assert "same answer" in run_batch(batch).failed[0][1]
    assert run_batch(broken).failed == (
        (broken.units[0], "broken: :build fails: RuntimeError: wires crossed"),
    )


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


def test_what_is_left_of_a_batch_can_be_claimed_beside_another_part_of_it(make_request: MakeRequest) -> None:
    """One process has half of it; another takes the rest, ends, and a third takes what is free then."""
    (batch,) = make_sweep([make_request()]).batches
    (part,) = make_sweep([make_request(folds=[0, 1])]).batches
    (rest,) = make_sweep([make_request(folds=[2])]).batches
    with contextlib.ExitStack() as first:
        first.enter_context(_claim(part))
        with _claim(batch) as mine:
            assert mine == tuple(key for key in batch.units if key not in part.units)
            first.close()
            with _claim(batch) as freed:
                assert freed == part.units
            with _claim(rest) as none:
                assert none == ()


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
