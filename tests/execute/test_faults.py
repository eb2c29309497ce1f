"""Faults around a run: a disk that refuses, a corrupt image, a clock set back, data that change meanwhile."""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.errors import StorageError, UsageError
from comface_bench.core.events import Event
from comface_bench.core.weights import cache_folder
from comface_bench.data.image_file import UnreadableImageError
from comface_bench.execute import run as running
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import Finished, Journal, run_plan
from comface_bench.leaderboards.pages import check, refresh
from comface_bench.results.store import RecordFiles, ResultStore

MakeRequest = Callable[..., Request]


def run(request: Request, events: list[Event] | None = None) -> Finished:
    return run_plan(make_plan(request), request, (events if events is not None else []).append)


@contextlib.contextmanager
def refusing(call: str) -> Iterator[None]:
    """Let a method of the record's files find that the disk may only be read."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system", "the/record")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordFiles, call, refuse)
        yield


@pytest.mark.parametrize(("method", "call"), [("tiny", "stage"), ("flat", "write")])
def test_a_record_that_cannot_be_written_any_more_stops_the_run(
    make_request: MakeRequest, method: str, call: str
) -> None:
    """`flat` fails, which has to be written, too."""
    other = "flat" if method == "tiny" else "tiny"
    request = make_request(methods=[method, other], protocol="finetune")
    events: list[Event] = []
    with refusing(call), pytest.raises(StorageError, match=r"can't be written: .*Read-only") as caught:
        run(request, events)
    assert "goes on from here" in caught.value.hint
    stages = {(event.method, event.fold) for event in events if event.kind == "stage" and event.epoch}
    assert len(stages) == 1, "hours would be spent on what can't be kept"
    if method == "tiny":
        assert len(list(request.results.rglob("*.pt"))) == 1, "what was trained is kept"
    assert run(request).records


def test_a_journal_that_cannot_be_written_costs_no_result(make_request: MakeRequest, tmp_path: Path) -> None:
    (tmp_path / "results" / running.JOURNAL).mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"journal\.jsonl isn't kept"):
        (record,) = run(make_request(folds=[0])).records
    assert record.summary.folds_done == [0]


def test_a_cache_that_cannot_be_written_is_said_with_what_to_do(
    make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMFACE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="decoded images can't be written to") as caught:
        run(make_request())
    assert "COMFACE_CACHE" in caught.value.hint


def test_a_corrupt_image_in_the_middle_is_named_and_stops_its_data_set_only(
    make_request: MakeRequest, make_ages: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_ages(tmp_path / "more")
    images = sorted((data / "FGNET" / "images").iterdir())
    middle = images[len(images) // 2]
    whole = middle.read_bytes()
    request = make_request(data=data)
    middle.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImageError, match=middle.name):
        run(request)
    kept = [path for path in cache_folder().rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} <= {"tables"}, "half a store is none"
    assert not list(request.results.rglob("*.json"))
    middle.write_bytes(whole)
    (record,) = run(request).records
    assert record.summary.complete


class YearOne(datetime.datetime):
    """A clock that was never set."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return cls(1970, 1, 1, tzinfo=tz)


def test_a_clock_set_back_changes_nothing_about_what_is_finished(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run's files are of the far future, the second's of the past."""
    request, events = make_request(folds=[0, 1]), []
    (first,) = run(request).records
    out = request.results / "leaderboard"
    refresh(request.results, out)
    future = 4_000_000_000
    for folder in (request.results, cache_folder(), Path(str(request.data))):
        for path in folder.rglob("*"):
            os.utime(path, (future, future))
    monkeypatch.setattr(running.datetime, "datetime", YearOne)
    (second,) = run(make_request(), events).records
    assert [event.fold for event in events if event.kind == "unit"] == [2, 3]
    assert [unit for unit in second.units if unit.fold < 2] == first.units
    for path in request.results.rglob("*.json"):
        os.utime(path, (1, 1))
    refresh(request.results, out)
    assert check(request.results, out).fresh, "pages older than their records are made anew"
    assert not [event for event in events if "damaged" in event.text or "kept as" in event.text]


def test_data_that_change_during_a_run_belong_to_the_next_one(make_request: MakeRequest, data: Path) -> None:
    """A record is of the data that its run began with; the next run sees that they are others."""
    image = sorted((data / "FGNET" / "images").iterdir())[5]
    before, undisturbed = image.read_bytes(), make_request()
    request = make_request(results=undisturbed.results.with_name("disturbed"))

    def change(event: Event) -> None:
        if event.kind == "epoch":
            image.write_bytes(before + b"\0")

    (expected,) = run(undisturbed).records
    (found,) = run_plan(make_plan(request), request, change).records
    assert [unit.predictions_digest for unit in found.units] == [
        unit.predictions_digest for unit in expected.units
    ]
    assert found.task.manifest_digest == expected.task.manifest_digest
    assert len(make_plan(request).cells[0].missing) == 4
    image.write_bytes(before)
    assert not make_plan(request).cells[0].missing
    assert ResultStore(request.results).load(*_names(found)) == found
    assert Journal(request.results).path.exists()


def _names(record: Any) -> tuple[str, str, str]:
    return record.task.name, record.protocol.name, record.method.name
