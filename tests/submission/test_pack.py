"""Packing: what leaves the house, what doesn't, and what isn't packed at all."""

import json
import shutil
from pathlib import Path

import pytest

from comface_bench.core.errors import DataMissingError, ResultError, UnknownNameError, UsageError
from comface_bench.core.protocol import resolve_protocol
from comface_bench.results.record import load_record
from comface_bench.results.schema import MethodAbout, dump_json
from comface_bench.results.store import ResultStore
from comface_bench.submission.check import RefusedError, check_bytes, publishable
from comface_bench.submission.pack import pack
from comface_bench.submission.package import read_archive

REAL = Path(__file__).parent / "real"
"""One run on the data that ship; made again with them: `comface-bench run --method scratch+backbone=resnet18
--task synth-weight --protocol quick -o epochs=2 -o image_size=16 -o pairs_per_epoch=16 --device cpu`."""


def test_a_package_passes_and_comes_out_the_same_each_time(made):
    package, report = pack(made.results, made.note())
    assert report.ok
    assert (package, report.ok) == (pack(made.results, made.note())[0], True)
    assert package == made.package
    assert sorted(read_archive(package)) == sorted(made.members)


def test_what_leaves_the_house(made):
    package, _ = pack(made.results, made.note())
    record = json.loads(read_archive(package)[f"{made.stem}.json"])
    before = load_record(made.results / f"{made.stem}.json")
    assert record["provenance"] == {
        "kind": "submitted",
        "created": "2026-01-02",
        "tool_version": "0.1.0",
        "command": "comface-bench run --method my-net --task synth-age --protocol linear",
    }
    assert record["environment"] == {
        "versions": {"python": "3.11.7", "torch": "2.6.0+cu124"},
        "system": "Linux 6.1.0",
        "machine": "x86_64",
        "cpu": "Intel(R) Xeon(R) CPU 2.20GHz",
        "cores": 8,
        "torch": {"threads": None, "cuda": None, "cudnn": None, "gpu": None},
        "git": {"commit": "a" * 40, "dirty": False},
    }
    assert b"alice" not in package
    assert record["units"] == json.loads(before.model_dump_json())["units"]
    assert publishable(publishable(before)) == publishable(before)


def test_the_prose_of_cards_stays_and_none_is_taken(made, tmp_path):
    """The note has what is shown of a method; a card's prose may hold anything."""
    path = made.run(tmp_path)
    stored = load_record(path)
    about = MethodAbout(licence="© “me” <b>", source="https://example.org/~me")
    method = stored.method.model_copy(update={"about": about})
    path.write_text(dump_json(stored.model_copy(update={"method": method}).seal()))
    package, report = pack(tmp_path, made.note())
    assert report.ok
    (record,) = (data for name, data in read_archive(package).items() if name.endswith(".json"))
    facts = json.loads(record)
    assert set(facts["method"]["about"].values()) == set(facts["task"]["about"].values()) == {""}
    for block in ("method", "task"):

        def change(record, block=block):
            record[block]["about"]["licence"] = "MIT"

        found = made.messages(made.check(made.forge(made.members, change)))
        assert f"{block}.about: holds prose" in found


def test_a_checkpoint_of_ones_own_is_named_by_its_digest(made):
    before = load_record(made.results / f"{made.stem}.json")
    method = before.method.model_copy(update={"name": "farl+checkpoint=0123456789ab+feature=proj"})
    command = publishable(before.model_copy(update={"method": method})).provenance.command
    assert command == (
        "comface-bench run --method farl+feature=proj --task synth-age --protocol linear -o checkpoint=FILE"
    )


def test_a_real_run(made):
    note = made.note("scratch+backbone=resnet18", training_data=("none",))
    package, report = pack(REAL, note)
    assert report.records == [
        "synth-weight/quick+epochs=2+image_size=16+pairs_per_epoch=16/scratch+backbone=resnet18"
    ]
    assert check_bytes(package, "it.zip").ok


def test_tasks_and_protocols(made, tmp_path):
    short = resolve_protocol("linear", "age", {"epochs": "2"})
    made.run(tmp_path)
    made.run(tmp_path, protocol=short, luck=2)
    made.run(tmp_path, task_name="synth-weight", protocol=resolve_protocol("linear", "weight"), luck=3)

    def stems(**wanted):
        return pack(tmp_path, made.note(), **wanted)[1].records

    assert stems() == [
        "synth-age/linear+epochs=2/my-net",
        "synth-age/linear/my-net",
        "synth-weight/linear/my-net",
    ]
    assert stems(tasks=["*-weight"]) == ["synth-weight/linear/my-net"]
    assert stems(tasks=["synth-age"], protocols=["linear"]) == ["synth-age/linear/my-net"]
    with pytest.raises(UnknownNameError, match="synth-age"):
        stems(tasks=["synth-aeg"])
    with pytest.raises(UnknownNameError):
        stems(protocols=["quick"])


def test_incomplete_records(made, tmp_path):
    path = made.run(tmp_path, folds=(0, 2))
    with pytest.raises(ResultError, match="fold 1, 3 not done") as caught:
        pack(tmp_path, made.note())
    assert "--incomplete" in caught.value.hint
    _, report = pack(tmp_path, made.note(), incomplete=True)
    assert report.ok
    assert not load_record(path).summary.complete


def test_failures_leave_without_their_words(made, tmp_path):
    from comface_bench.results.schema import Failure

    path = made.run(tmp_path, folds=(0, 1, 2))
    record = load_record(path)
    key = load_record(made.results / f"{made.stem}.json").units[3].key
    store = ResultStore(tmp_path)
    with store.open(
        record.task, record.method, record.protocol, record.provenance, record.environment
    ) as writer:
        writer.fail(
            Failure(fold=3, seed=0, key=key, error="OSError", message="/home/alice/x", hint="ask alice")
        )
    with pytest.raises(ResultError, match="fold 3, seed 0 failed"):
        pack(tmp_path, made.note())
    package, _ = pack(tmp_path, made.note(), incomplete=True)
    packed = json.loads(read_archive(package)[f"{made.stem}.json"])
    assert [(f["error"], f["message"], f["hint"]) for f in packed["failures"]] == [("OSError", "", "")]
    assert b"alice" not in package

    def gossip(record):
        record["failures"][0]["message"] = "alice"

    found = made.messages(made.check(made.forge(read_archive(package), gossip)))
    assert "failures: holds more than" in found


def test_what_is_not_packed(made, tmp_path):
    with pytest.raises(DataMissingError, match="no record of my-nat"):
        pack(made.results, made.note("my-nat"))
    with pytest.raises(UsageError, match=r"code: 'http://a\.org' doesn't begin with https"):
        pack(made.results, made.note(code="http://a.org"))
    with pytest.raises(RefusedError, match="training_data"):
        pack(made.results, made.note(training_data=("none",)))
    shutil.copytree(made.results, tmp_path / "results")
    record = tmp_path / "results" / f"{made.stem}.json"
    record.write_text(record.read_text().replace('"seconds": 1.5', '"seconds": 2.5', 1))
    with pytest.raises(ResultError, match="digest") as caught:
        pack(tmp_path / "results", made.note())
    assert "results validate" in caught.value.hint
