"""A plugin that was edited under its old version: what a run says of finished units; running them again."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import comface_bench as cb
from comface_bench.cli.main import main
from comface_bench.core.events import Event
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import Finished, run_plan
from comface_bench.results.schema import Record
from comface_bench.results.store import RecordFiles, ResultStore

MakeRequest = Callable[..., Request]


def run(request: Request, events: list[Event] | None = None) -> Finished:
    return run_plan(make_plan(request), request, (events if events is not None else []).append)


def edit(plugin: Path, old: str = "stride=2", new: str = "stride=3") -> None:
    """Change the network without a word in its card; the text keeps its size."""
    text = plugin.read_text()
    assert text.count(old) == 1
    plugin.write_text(text.replace(old, new))


def digests(record: Record) -> dict[int, str]:
    return {unit.fold: unit.predictions_digest for unit in record.units}


def stored(request: Request) -> Record:
    (record,) = ResultStore(request.results).records()
    return record


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.kind == "notice"]


def test_an_edited_plugin_is_told_and_run_again_when_asked(make_request: MakeRequest, plugin: Path) -> None:
    request, again = make_request(), make_request(again=True)
    (first,) = run(request).records
    source = first.units[0].details["method_source"]
    assert len({unit.details["method_source"] for unit in first.units}) == 1
    events: list[Event] = []
    run(request, events)
    assert notices(events) == []
    edit(plugin)
    (reused,) = run(request, events).records
    assert reused == first
    (notice,) = notices(events)
    assert "source of tiny (still version 1) was changed since 4 of 4 units were run" in notice
    assert notice.endswith("the same command with --again")
    (second,) = run(again).records
    assert [unit.key for unit in second.units] == [unit.key for unit in first.units]
    assert not set(digests(second).values()) & set(digests(first).values())
    assert second.units[0].details["method_source"] != source
    assert second == stored(request)
    events.clear()
    run(request, events)
    assert notices(events) == []
    edit(plugin, "stride=3", "stride=2")
    (third,) = run(again).records
    assert digests(third) == digests(first)


CALLING = """

class Calling(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return {scaled}
"""


def scale_features(plugin: Path, scaled: str, first: str = "") -> None:
    """Let the networks of the plugin do something with their features that no attribute of theirs shows."""
    network = "torch.nn.Sequential(*layers)"
    text = plugin.read_text().replace(f"return {network}", f"return Calling({network})")
    plugin.write_text(first + text + CALLING.format(scaled=scaled))


def test_features_are_kept_under_the_code_that_made_them(
    make_request: MakeRequest, plugin: Path, tmp_path: Path
) -> None:
    """The file may be saved anew between its loading and the first image."""
    scale_features(plugin, "self.network(images) * 1")
    request = make_request(folds=[0])
    plan = make_plan(request)
    edit(plugin, "self.network(images) * 1", "self.network(images) ** 2")
    (old,) = run_plan(plan, request).records
    (new,) = run(make_request(folds=[0], results=tmp_path / "new")).records
    assert digests(old) != digests(new)


def test_again_encodes_again(
    make_request: MakeRequest, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a plugin's network calls elsewhere is in no key of its features."""
    elsewhere = types.ModuleType("scaling_of_a_plugin")
    elsewhere.scale = lambda features: features  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, elsewhere.__name__, elsewhere)
    # Looked up only as it is called: other processes load the plugin, too.
    called = f"sys.modules[{elsewhere.__name__!r}].scale(self.network(images))"
    scale_features(plugin, called, "import sys\n")
    (first,) = run(make_request(folds=[0])).records
    elsewhere.scale = lambda features: features**2  # type: ignore[attr-defined]
    (second,) = run(make_request(folds=[0], again=True)).records
    assert digests(first) != digests(second)


@pytest.mark.parametrize("choice", ["folds", "units"])
def test_again_runs_what_is_asked_for_and_nothing_else(
    make_request: MakeRequest, plugin: Path, choice: str
) -> None:
    request = make_request(seeds=[0, 1])
    (first,) = run(request).records
    edit(plugin)
    (cell,) = make_plan(request).cells
    one = next(unit for unit in cell.units if (unit.fold, unit.seed) == (2, 1))
    part = {"folds": [2], "seeds": [1]} if choice == "folds" else {"seeds": [1], "units": [one.key()[:12]]}
    (second,) = run(make_request(again=True, **part)).records
    changed = [
        (unit.fold, unit.seed)
        for unit, before in zip(second.units, first.units, strict=True)
        if unit.predictions_digest != before.predictions_digest
    ]
    assert changed == [(2, 1)]
    (cell,) = make_plan(request).cells
    assert len(cell.outdated) == 7
    assert cell.warning is not None
    assert cell.warning.count("--unit") == 7
    assert one.key()[:12] not in cell.warning


@pytest.mark.parametrize(("protocol", "former"), [("linear", [0, 1, 2, 3]), ("finetune", [2, 3])])
def test_a_kill_leaves_each_unit_with_its_former_or_its_new_result(
    make_request: MakeRequest,
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    former: list[int],
) -> None:
    """The units of one call are stored all or none."""

    class Killed(BaseException):
        pass

    written = []
    write = RecordFiles.write

    def die(files: RecordFiles, predictions: bytes, record: bytes) -> None:
        if len(written) == 4 - len(former):
            raise Killed
        written.append(files)
        write(files, predictions, record)

    request = make_request(protocol=protocol)
    (first,) = run(request).records
    edit(plugin)
    with monkeypatch.context() as dying:
        dying.setattr(RecordFiles, "write", die)
        with pytest.raises(Killed):
            run(make_request(protocol=protocol, again=True))
    between = stored(request)
    assert len(between.units) == 4
    assert between.summary.complete
    same = [fold for fold, found in digests(between).items() if digests(first)[fold] == found]
    assert same == former
    # The notice names those that are left, so that they alone are run again.
    (cell,) = make_plan(request).cells
    assert [unit.fold for unit in cell.outdated] == same
    (whole,) = run(make_request(protocol=protocol, again=True)).records
    fresh = make_request(protocol=protocol, results=request.results.with_name("fresh"))
    assert digests(whole) == digests(run(fresh).records[0])


def test_a_training_is_not_continued_by_another_source(
    make_request: MakeRequest, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 2:
            raise Killed

    monkeypatch.setattr("comface_bench.engine.checkpoint.SAVE_INTERVAL_S", 0.0)
    request = make_request(protocol="finetune", folds=[0], options={"epochs": "3"})
    with pytest.raises(Killed):
        run_plan(make_plan(request), request, die)
    assert list(request.results.rglob("*.pt"))
    edit(plugin, "ReLU", "ELU")  # Of the same weights, which the state would fit.
    (resumed,) = run(request).records
    fresh = make_request(
        protocol="finetune", folds=[0], options={"epochs": "3"}, results=request.results.with_name("fresh")
    )
    assert digests(resumed) == digests(run(fresh).records[0])


def test_a_unit_that_fails_again_keeps_its_former_result(make_request: MakeRequest, plugin: Path) -> None:
    request = make_request(folds=[0])
    (first,) = run(request).records
    edit(plugin, 'if options["mode"] == "flat":', 'if options["mode"] != "flat":')
    finished = run(make_request(folds=[0], again=True))
    assert [unit.fold for unit, _ in finished.failed] == [0]
    assert digests(stored(request)) == digests(first)


def test_a_former_result_without_a_source_is_not_called_outdated(
    make_request: MakeRequest, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(folds=[0])
    with monkeypatch.context() as before:
        before.setattr("comface_bench.execute.plan.PlannedRecord.sources", {})
        run(request)
    edit(plugin)
    (cell,) = make_plan(request).cells
    assert cell.finished
    assert cell.outdated == ()


def test_the_command_line_tells_and_repeats(
    make_request: MakeRequest, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = make_request(folds=[0])
    words = [
        "run",
        "--method",
        "tiny",
        "--task",
        "age",
        "--folds",
        "0",
        "--device",
        "cpu",
        "--no-leaderboard",
    ]
    words += ["--data", str(request.data), "--results", str(request.results), "--plugin", str(plugin)]
    words += [word for key, value in request.options.items() for word in ("-o", f"{key}={value}")]

    def call(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        return (int(left.value.code or 0), *capsys.readouterr())

    assert call()[0] == 0
    edit(plugin)
    _, out, err = call()
    assert "tiny (still version 1) was changed since 1 of 1 units were run" in err
    _, out, _ = call("--dry-run")
    assert "done" in out
    assert "was changed since" in out
    _, out, _ = call("--dry-run", "--json")
    row, notice = map(json.loads, out.splitlines())
    assert (row["done"], row["runs"]) == (True, False)
    assert "was changed since" in notice["notice"]
    _, out, _ = call("--dry-run", "--again")
    assert " again" in out
    assert "0 done, 1 to run" in out
    assert "was changed since" not in out
    status, _, err = call("--again")
    assert (status, "was changed since" in err) == (0, False)


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_unit_says_with_how_many_threads_it_ran(make_request: MakeRequest, protocol: str) -> None:
    (record,) = run(make_request(folds=[0], protocol=protocol)).records
    assert record.units[0].details["threads"] == torch.get_num_threads()


def test_python_tells_by_a_warning(make_request: MakeRequest, plugin: Path) -> None:
    request = make_request()

    def call(**more: bool) -> Record:
        options = {"data": request.data, "results": request.results, "plugins": [plugin], "folds": [0]}
        return cb.run("tiny", "age", device="cpu", **options, options=dict(request.options), **more)

    first = call()
    edit(plugin)
    with pytest.warns(UserWarning, match="was changed since"):
        assert call() == first
    assert digests(call(again=True)) != digests(first)
