"""Running plans: records, failures, and kills."""

import contextlib
import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import PluginError, StorageError, UsageError
from comface_bench.core.events import Event
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import Finished, run_plan
from comface_bench.results.store import RecordFiles, RecordWriter, ResultStore
from comface_bench.results.validation import recompute_record

MakeRequest = Callable[..., Request]


def run(request: Request, events: list[Event] | None = None) -> Finished:
    return run_plan(make_plan(request), request, (events if events is not None else []).append)


def without_times(record: Any) -> dict[str, Any]:
    """A record without what two honest runs may differ in."""
    content: dict[str, Any] = record.model_dump()
    for name in ("environment", "provenance", "digest"):  # the digest covers the times too
        del content[name]
    for unit in content["units"]:
        for name in ("seconds", "peak_memory_mb", "details"):
            del unit[name]
    return content


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_run_leaves_a_record_with_its_predictions(make_request: MakeRequest, protocol: str) -> None:
    request = make_request(protocol=protocol)
    finished = run(request)
    (record,) = finished.records
    assert not finished.failed
    assert record.summary.complete
    assert [unit.fold for unit in record.units] == [0, 1, 2, 3]
    assert record.method.feature_dim == 4
    assert record.method.parameters == 3 * 4 * 9 + 4
    rows = ResultStore(request.results).load_predictions(record)
    assert len(rows) == record.summary.n_pairs == 8 * 6
    assert {row.pair_id.count("-") for row in rows} == {2}
    errors = [abs(row.y - row.yhat) for row in rows]
    assert record.summary.pooled["mae"].value == pytest.approx(sum(errors) / len(errors))
    changes = [abs(row.y) for row in rows]
    assert record.summary.constant["mae"].value == pytest.approx(sum(changes) / len(changes))
    assert not list(request.results.rglob("*.pt"))


@pytest.fixture
def again_task(tmp_path: Path) -> Path:
    """Write a plugin with a second task on the images of `age`."""
    plugin = tmp_path / "more_tasks.py"
    plugin.write_text(
        "import dataclasses\n"
        "from comface_bench.tasks.fgnet import CARD as AGE\n"
        "CARDS = (dataclasses.replace(AGE, name='age-again'),)\n"
    )
    return plugin


def test_finished_units_do_not_run_again(make_request: MakeRequest) -> None:
    request = make_request()
    first = run(request)
    events: list[Event] = []
    second = run(request, events)
    assert [event.kind for event in events] == ["plan", "record"]
    assert first.records == second.records


def test_a_record_of_other_data_is_no_result_of_what_could_not_start(
    make_request: MakeRequest, plugin: Path, data: Path
) -> None:
    run(make_request(folds=[0]))
    plugin.write_text(plugin.read_text().replace('== "broken"', '== "tiny"'))
    request = make_request(methods=["tiny", "broken"])
    tiny, broken = run(request).records
    assert [unit.fold for unit in tiny.units] == [0], "what there is of these very data is shown"
    image = min((data / "FGNET" / "images").iterdir())
    image.rename(image.with_name("001A05.JPG"))
    events: list[Event] = []
    finished = run(request, events)
    assert [record.method.name for record in finished.records] == ["broken"]
    assert finished.records[0].task.manifest_digest != broken.task.manifest_digest
    assert {unit.method.name for unit, _ in finished.failed} == {"tiny"}
    assert [event.method for event in events if event.kind == "record"] == ["broken"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_record_that_cannot_be_read_hides_no_other(
    make_request: MakeRequest, plugin: Path, when: str
) -> None:
    plugin.write_text(plugin.read_text().replace('== "broken"', '== ""'))
    request = make_request(methods=["broken", "tiny"])
    broken, tiny = run(request).records
    path = ResultStore(request.results).record_path(tiny.task.name, tiny.protocol.name, "tiny")

    def spoil(event: Event | None = None) -> None:
        if event is None or event.kind == "record":
            path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 99'))
        if event is not None:
            events.append(event)

    events: list[Event] = []
    if when == "before":
        spoil()
        with pytest.warns(UserWarning, match="not counted as finished"):
            plan = make_plan(request)
        finished = run_plan(plan, request, events.append)
    else:
        finished = run_plan(make_plan(request), request, spoil)
    assert finished.records == (broken,)
    assert [(unit.method.name, unit.fold) for unit, _ in finished.failed] == [("tiny", n) for n in range(4)]
    (failure,) = [event for event in events if event.kind == "failure"]
    assert "schema_version" in failure.text
    assert path.exists()


@pytest.mark.parametrize("what", ["newer", "folder", "newer meanwhile"])
def test_a_record_that_cannot_be_read_keeps_no_other_of_its_group_from_running(
    make_request: MakeRequest, again_task: Path, what: str
) -> None:
    plugins = [*make_request().plugin_files, again_task]
    request = make_request(tasks=["age", "age-again"], plugin_files=plugins)
    (record,) = run(make_request(folds=[0])).records
    path = ResultStore(request.results).record_path(record.task.name, record.protocol.name, "tiny")
    newer = path.read_text().replace('"schema_version": 3', '"schema_version": 99')
    events: list[Event] = []

    def spoil(event: Event) -> None:
        if event.kind == "epoch":
            path.write_text(newer)
        events.append(event)

    plan = make_plan(request)
    if what == "newer":
        path.write_text(newer)
    elif what == "folder":
        path.unlink()
        path.mkdir()
    finished = run_plan(plan, request, spoil if what == "newer meanwhile" else events.append)
    (other,) = finished.records
    assert other.task.name.startswith("age-again")
    assert other.summary.complete
    assert {unit.task_name for unit, _ in finished.failed} == {record.task.name}
    assert all(str(path) in event.text for event in events if event.kind == "failure")
    assert path.is_dir() if what == "folder" else path.read_text() == newer


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_kill_after_the_record_leaves_no_state_for_good(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    class Killed(BaseException):
        pass

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".pt":
            raise Killed
        unlink(path, missing_ok)

    unlink = Path.unlink
    monkeypatch.setattr("comface_bench.engine.checkpoint.SAVE_INTERVAL_S", 0.0)
    request = make_request(protocol=protocol, folds=[0])
    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            run(request)
    assert list(request.results.rglob("*.pt"))
    assert not run(request).failed
    assert not list(request.results.rglob("*.pt"))


@pytest.mark.parametrize("protocol", ["linear", "probe"])
def test_a_kill_while_results_are_stored_costs_no_training_and_no_digit(
    make_request: MakeRequest,
    plugin: Path,
    again_task: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
) -> None:
    """Those that are left are given to the protocol in the company in which they were begun."""

    class Killed(BaseException):
        pass

    def die(writer: RecordWriter, units: Any) -> None:
        if stored:
            raise Killed
        stored.append(writer)
        add_all(writer, units)

    stored: list[RecordWriter] = []
    add_all = RecordWriter.add_all
    plugin.write_text(plugin.read_text().replace("drawn=True", ""))  # all repetitions in one call
    monkeypatch.setattr("comface_bench.engine.checkpoint.SAVE_INTERVAL_S", 0.0)
    options = {} if protocol == "linear" else {"split": "balanced-4", "image_size": "16"}
    plugins = [*make_request().plugin_files, again_task]
    facts = {"protocol": protocol, "seeds": [0, 1], "options": options}
    facts |= {"tasks": ["age", "age-again"], "plugin_files": plugins}
    if protocol == "probe":
        make = make_request

        def make_request(**changes: Any) -> Request:
            return dataclasses.replace(make(**changes), options=options)

    request = make_request(**facts)
    whole = run(make_request(**facts, results=request.results.with_name("whole"))).records
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(RecordWriter, "add_all", die)
        run(request)
    assert [len(cell.missing) for cell in make_plan(request).cells] == [0, 8]
    events: list[Event] = []
    records = run(request, events).records
    assert [without_times(record) for record in records] == [without_times(record) for record in whole]
    assert not [event for event in events if event.kind == "epoch"]
    assert not [path for path in request.results.rglob("*") if path.suffix in (".pt", ".units")]


def test_a_unit_alone_gives_what_it_gives_in_company(make_request: MakeRequest, tmp_path: Path) -> None:
    for protocol in ("linear", "finetune"):
        (whole,) = run(make_request(protocol=protocol, seeds=[0, 1])).records
        request = make_request(protocol=protocol, folds=[2], seeds=[1], results=tmp_path / "alone")
        (alone,) = run(request).records
        (twin,) = [unit for unit in whole.units if (unit.fold, unit.seed) == (2, 1)]
        assert alone.units[0].key == twin.key
        assert alone.units[0].metrics["mae"].value == pytest.approx(twin.metrics["mae"].value, rel=1e-5)


def test_repetitions_differ(make_request: MakeRequest) -> None:
    (record,) = run(make_request(seeds=[0, 1], folds=[0])).records
    first, second = record.units
    assert first.predictions_digest != second.predictions_digest


def test_tasks_of_one_data_set_share_the_encoding(
    make_request: MakeRequest, again_task: Path, tmp_path: Path
) -> None:
    plugins = [*make_request().plugin_files, again_task]
    request = make_request(tasks=["age", "age-again"], plugin_files=plugins)
    events: list[Event] = []
    finished = run(request, events)
    assert len(finished.records) == 2
    encoded = [e for e in events if e.kind == "stage" and e.text.startswith("encoding")]
    assert len(encoded) == 1 + 2
    (record,) = run(make_request(results=tmp_path / "alone")).records
    joint = finished.records[0]
    for one, other in zip(joint.units, record.units, strict=True):
        assert one.metrics["mae"].value == pytest.approx(other.metrics["mae"].value, rel=1e-5)


def test_a_constant_prediction_is_a_failure_and_no_result(make_request: MakeRequest) -> None:
    events: list[Event] = []
    finished = run(make_request(methods=["flat", "tiny"], folds=[0]), events)
    flat, tiny = finished.records
    assert len(finished.failed) == 1
    assert flat.units == []
    (failure,) = flat.failures
    assert "same answer" in failure.message
    assert failure.hint
    assert not flat.summary.complete
    assert len(tiny.units) == 1
    assert [event.kind for event in events].count("failure") == 1
    again = run(make_request(methods=["flat"], folds=[0]))
    assert len(again.failed) == 1, "a failed unit must be tried again"


def test_a_method_that_cannot_be_built_stops_before_anything_is_recorded(make_request: MakeRequest) -> None:
    request = make_request(methods=["broken"])
    with pytest.raises(PluginError, match="broken: :build fails: RuntimeError: wires crossed"):
        run(request)
    assert not list(request.results.rglob("*.json"))


def test_a_method_that_cannot_be_built_does_not_keep_others_from_running(make_request: MakeRequest) -> None:
    events: list[Event] = []
    finished = run(make_request(methods=["broken", "tiny"], folds=[0]), events)
    assert [record.method.name for record in finished.records] == ["tiny"]
    assert [unit.method_name for unit, _ in finished.failed] == ["broken"]
    assert any("wires crossed" in event.text for event in events if event.kind == "failure")


CARELESS = """


class Careless(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        if self.calls > {calls}:
            {does}
        return images.mean((2, 3))


class Mute(Exception):
    def __str__(self):
        raise ZeroDivisionError
"""


@pytest.fixture
def careless(plugin: Path) -> Callable[..., None]:
    """Let the method `broken` build a network that does something once it has been called so often."""

    def write(does: str, calls: int = 1) -> None:
        text = plugin.read_text().replace('raise RuntimeError("wires crossed")', "return Careless()")
        plugin.write_text(text + CARELESS.format(does=does, calls=calls))

    return write


@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.parametrize("status", [0, 3])
def test_a_plugin_that_leaves_the_program_fails_alone(
    make_request: MakeRequest, careless: Callable[..., None], status: int, calls: int
) -> None:
    careless(f"raise SystemExit({status})", calls)
    finished = run(make_request(methods=["broken", "tiny"], folds=[0]))
    assert finished.records[-1].method.name == "tiny"
    assert finished.records[-1].summary.pooled
    ((_, error),) = finished.failed
    assert f"broken leaves the program: SystemExit({status})" in str(error)


def test_this_process_may_be_told_to_leave(
    make_request: MakeRequest, careless: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    careless("raise SystemExit(-1)")
    told = threading.Event()
    told.set()
    monkeypatch.setattr("comface_bench.execute.run.LEAVING", told)
    with pytest.raises(SystemExit):
        run(make_request(methods=["broken", "tiny"], folds=[0]))


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (r"raise ValueError('bad \udc80 name')", r"ValueError: bad \udc80 name"),
        ("raise Mute", "Mute"),
    ],
)
def test_what_a_failure_says_can_be_stored_and_read(
    make_request: MakeRequest, careless: Callable[..., None], does: str, said: str
) -> None:
    careless(does)
    request = make_request(methods=["broken"], folds=[0])
    run(request)
    (record,) = ResultStore(request.results).records()
    assert [failure.message for failure in record.failures] == [said]


def test_labels_that_never_change_are_said_to_be_that(
    make_request: MakeRequest, make_ages: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "still"
    make_ages(folder)
    table = folder / "still.csv"
    images = sorted((folder / "FGNET" / "images").iterdir())
    lines = [f"{path.relative_to(folder)},{path.name[:3]},7" for path in images]
    table.write_text("image,subject,label\n" + "\n".join(lines) + "\n")
    finished = run(make_request(tasks=[f"csv:{table}"]))
    assert len(finished.failed) == 4
    assert all("no training pair changes in label" in str(error) for _, error in finished.failed)


def test_a_fold_without_pairs_fails_alone(
    make_request: MakeRequest, data: Path, draw_image: Callable[..., Path]
) -> None:
    draw_image(data / "FGNET" / "images" / "009A05.JPG", seed=9)
    request = make_request(options={"split": "leave-one-out"})
    finished = run(request)
    (record,) = finished.records
    (failure,) = record.failures
    assert failure.fold == 8
    assert "009" in failure.message
    assert {unit.fold for unit in record.units} == set(range(8))


@pytest.mark.parametrize("folder", ["/", None])
def test_a_failure_says_nothing_of_this_machines_folders(
    make_request: MakeRequest,
    careless: Callable[..., None],
    data: Path,
    folder: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the root of the file system as from anywhere else; the rest of the sentence stays."""
    told = f"no a/b of 1/2 in {data}/FGNET/x.png, {Path.home()}/patients/list.txt or '/srv/Jane Doe/x', ./y"
    careless(f"raise FileNotFoundError({told!r})")
    monkeypatch.chdir(folder or data)
    events: list[Event] = []
    request = make_request(methods=["broken"], folds=[0])
    (record,) = run(request, events).records
    shown = "FileNotFoundError: no a/b of 1/2 in DATA/x.png, PATH or 'PATH', ./y"
    assert record.failures[0].message == shown
    files = [path.read_text() for path in request.results.rglob("*.json*")]
    assert not [text for text in files if "patients" in text or "Jane" in text or str(data) in text]
    (event,) = [event for event in events if event.kind == "failure"]
    assert told in event.text, "whoever sits at this machine may know its folders"


def test_results_of_other_mathematics_are_set_aside(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_request())
    for module in ("comface_bench.core.unit", "comface_bench.execute.run"):
        monkeypatch.setattr(f"{module}.ENGINE_EPOCH", 99)
    (record,) = run(make_request(folds=[0])).records
    assert [unit.fold for unit in record.units] == [0]


def test_precision_asked_for_is_another_record(make_request: MakeRequest) -> None:
    first = run(make_request(folds=[0])).records[0]
    second = run(make_request(folds=[0], options={"precision": "bfloat16"})).records[0]
    assert first.units[0].details["precision"] == "float32", "a frozen backbone is exact by default"
    assert second.units[0].details["precision"] == "bfloat16"
    assert first.protocol.name != second.protocol.name


@pytest.mark.parametrize("wrong", [{"folds": []}, {"seeds": []}, {"seeds": [-1]}])
def test_folds_and_seeds_must_be_some(make_request: MakeRequest, wrong: dict[str, list[int]]) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        run(make_request(**wrong))


def test_a_results_folder_that_cannot_be_written_is_said_before_any_work(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    events: list[Event] = []
    for results in (file, Path("/proc/results") if Path("/proc").is_dir() else file):
        with pytest.raises(UsageError, match="records can't be written") as caught:
            run(make_request(results=results), events)
        assert "--results" in caught.value.hint
    assert not any(event.kind == "stage" for event in events)


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_disk_that_fills_up_stops_the_run_and_costs_no_training(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    def fill(self: RecordFiles, name: str, data: bytes) -> None:
        raise StorageError("the disk is full", "Make room.")

    monkeypatch.setattr("comface_bench.engine.checkpoint.SAVE_INTERVAL_S", 0.0)
    request = make_request(methods=["tiny", "flat"], folds=[0], protocol=protocol)
    with monkeypatch.context() as full, pytest.raises(StorageError, match="the disk is full"):
        full.setattr(RecordFiles, "stage", fill)
        run(request)
    assert not [text for path in request.results.rglob("*.json") if "disk" in (text := path.read_text())]
    assert len(list(request.results.rglob("*.pt"))) == 1, "the state after the last epoch is there"
    epochs: list[Event] = []
    (tiny, _) = run(request, epochs).records
    assert tiny.summary.folds_done == [0]
    assert not [event for event in epochs if event.kind == "epoch" and event.method == "tiny"]


def test_results_that_have_no_room_are_said_before_any_work(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    request, events = make_request(), []
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=f"{request.results} can't be written: the disk is full"):
        run(request, events)
    assert not any(event.kind == "stage" for event in events)


def test_the_record_event_has_the_metric_and_the_no_change_baseline(make_request: MakeRequest) -> None:
    events: list[Event] = []
    (record,) = run(make_request(folds=[0]), events).records
    (told,) = [event for event in events if event.kind == "record"]
    assert told.value == record.primary["mae"].value
    assert "mae of no change" in told.text


def test_a_card_that_lies_about_its_features_is_refused(make_request: MakeRequest) -> None:
    with pytest.raises(PluginError, match="says 5 features, but there are 4"):
        run(make_request(methods=["liar"]))


def test_the_journal_reports_what_ran(make_request: MakeRequest) -> None:
    request = make_request(folds=[1])
    run(request)
    lines = [json.loads(line) for line in (request.results / "journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "end"]
    assert "fold 1" in lines[0]["unit"]


def test_a_record_of_other_data_is_kept_aside(make_request: MakeRequest, data: Path) -> None:
    request = make_request()
    (first,) = run(request).records
    next(iter(sorted((data / "FGNET" / "images").iterdir()))).rename(data / "FGNET" / "images" / "001A05.JPG")
    events: list[Event] = []
    (second,) = run(request, events).records
    assert second.task.manifest_digest != first.task.manifest_digest
    assert any("kept as" in event.text for event in events if event.kind == "notice")
    assert len(list(request.results.rglob("*@*.json"))) == 1


AGES = """
import dataclasses
from comface_bench.tasks.fgnet import CARD as AGE

CARD = dataclasses.replace(AGE, name="ages", **{changes})
"""


def test_a_metric_that_a_task_gains_is_computed_without_a_run(
    make_request: MakeRequest, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ["mae", "pearson"]

    def refuse(*_: object) -> None:
        raise PermissionError("read only")

    def run_with(**changes: Any) -> tuple[list[str], Any]:
        # A plugin is loaded once a process, by its path.
        ages = tmp_path / f"ages{len(list(tmp_path.iterdir()))}.py"
        ages.write_text(AGES.format(changes={"metrics": tuple(metrics), **changes}))
        events: list[Event] = []
        request = make_request(tasks=["ages"], plugin_files=[plugin, ages])
        (record,) = run(request, events).records
        return [event.kind for event in events], record

    _, first = run_with()
    metrics.append("icc31")
    happened, more = run_with(unit="months", label_range=(0.0, 200.0), overlaps=("FFHQ",), summary="Ages.")
    assert happened == ["plan", "record"]
    assert [unit.key for unit in more.units] == [unit.key for unit in first.units]
    assert [list(unit.metrics) for unit in more.units] == [metrics] * 4
    assert more.summary.pooled["icc31"].value is not None
    assert (more.task.unit, more.task.about.summary) == ("months", "Ages.")
    assert more.task.card["overlaps"] == ["FFHQ"]
    path = ResultStore(tmp_path / "results").record_path(more.task.name, more.protocol.name, more.method.name)
    assert recompute_record(path) == []
    with monkeypatch.context() as patch:
        patch.setattr("comface_bench.results.store.replace_file", refuse)
        metrics.append("rmse")
        happened, shown = run_with()
    assert happened == ["plan", "record"]
    assert "rmse" in shown.summary.pooled
    assert "rmse" not in path.read_text()
    happened, _ = run_with(version=2)
    assert "stage" in happened


DRIVER = """
import os, sys, traceback
from pathlib import Path
import torch, torch._dynamo  # the latter else in each run, at its first step
torch.set_num_threads(1)
from comface_bench.engine import checkpoint, encoder, finetune
from comface_bench.results import environment, schema
from comface_bench.execute.run import run_plan
from comface_bench.execute.plan import Request, make_plan
checkpoint.SAVE_INTERVAL_S = 0.0
data, plugin = map(Path, sys.argv[1:])
options = {"split": "balanced-4", "image_size": "16", "epochs": "3", "pairs_per_epoch": "64"}


def run(results):
    request = Request(["tiny"], ["age"], "finetune", options, data, results, plugin_files=[plugin])
    plan = make_plan(request)
    print("ready", os.getpid(), flush=True)
    run_plan(plan, request)


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            run(Path(line.strip()))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print("ended", os.waitpid(pid, 0)[1], flush=True)
"""


class Runs:
    """Processes that run the same plan, forked from one that has imported torch.

    Args:
        server: That process.
    """

    def __init__(self, server: subprocess.Popen[str]) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self._ask, self._answers = server.stdin, server.stdout

    def run(self, results: Path, kill_after: float | None = None) -> tuple[int, float]:
        """Run the plan; return how the process ended and how many seconds it ran."""
        self._ask.write(f"{results}\n")
        self._ask.flush()
        ready, pid = self._answers.readline().split()
        assert ready == "ready"
        began = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ended, status = self._answers.readline().split()
        assert ended == "ended"
        return os.waitstatus_to_exitcode(int(status)), time.perf_counter() - began


@pytest.fixture(scope="module")
def runs(
    make_ages: Callable[..., Path],
    write_plugin: Callable[[Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    command = [sys.executable, *map(str, (driver, make_ages(folder / "data"), write_plugin(folder)))]
    environment = {**os.environ, "COMFACE_CACHE": str(folder / "cache")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as server:
        yield Runs(server)
        server.communicate()


@pytest.fixture(scope="module")
def unbroken(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The results of a run that nobody kills, and its seconds."""
    results = tmp_path_factory.mktemp("unbroken")
    status, length = runs.run(results)
    assert status == 0
    return results, length


def kill_and_resume(runs: Runs, unbroken: tuple[Path, float], folder: Path, kills: int) -> None:
    """Kill runs at random moments until one ends, and compare with an unbroken run."""
    whole, length = unbroken
    moments = random.Random(4)
    killed = [runs.run(folder, moments.uniform(0, length))[0] for _ in range(kills)]
    assert -signal.SIGKILL in killed
    assert runs.run(folder)[0] == 0
    name = ("age+split=balanced-4", make_plan_protocol(), "tiny")
    expected, resumed = (ResultStore(results).load(*name) for results in (whole, folder))
    assert expected is not None
    assert without_times(resumed) == without_times(expected)
    assert not list(folder.rglob("*.pt"))


def make_plan_protocol() -> str:
    return "finetune+epochs=3+image_size=16+pairs_per_epoch=64"


def test_a_run_killed_twice_resumes_to_the_same_record(
    runs: Runs, unbroken: tuple[Path, float], tmp_path: Path
) -> None:
    kill_and_resume(runs, unbroken, tmp_path / "killed", kills=2)


def test_a_run_killed_ten_times_resumes_to_the_same_record(
    runs: Runs, unbroken: tuple[Path, float], tmp_path: Path
) -> None:
    kill_and_resume(runs, unbroken, tmp_path / "killed", kills=10)


def test_a_record_says_which_part_of_which_file_was_taken(make_request: MakeRequest, tmp_path: Path) -> None:
    import timm
    import torch

    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    average = {name: tensor + 1 for name, tensor in state.items()}
    file = tmp_path / "mine.pth"
    torch.save({"state_dict": state, "state_dict_ema": average}, file)
    options = {"checkpoint": str(file), "part": "state_dict_ema", "image_size": "32"}
    request = make_request(methods=["timm/test_resnet"], options=options, folds=[0])
    said: list[Event] = []
    run(request, said)
    assert any("the part state_dict_ema was taken" in event.text for event in said)
    (path,) = (tmp_path / "results").rglob("*part=state_dict_ema*.json")
    (unit,) = json.loads(path.read_text())["units"]
    assert unit["details"]["weights_part"] == "state_dict_ema"
    assert unit["details"]["weights_sha256"] == digest_file(file)
