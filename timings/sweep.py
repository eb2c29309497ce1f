"""A sweep of 2,000 finished units, 500 records of 4: seconds, against only loading the same files.

    python timings/sweep.py

Writes valid records of drawn predictions for 25 methods without weights on 20 tasks, then types the sweep's
command in processes of their own, as users do. The reference is a process that loads the JSON of the same
records and unpacks their predictions, and does nothing with them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

METHODS, TASKS = 25, 20
REPEATS = 3

PLUGIN = """
import dataclasses

from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.tasks.fgnet import CARD as AGE

TASKS = [dataclasses.replace(AGE, name=f"age-{{number}}") for number in range({tasks})]
METHODS = [
    MethodCard(name=f"method-{{number}}", version=1, build=":build", backbone="none", preprocess=Preprocess())
    for number in range({methods})
]
CARDS = (*TASKS, *METHODS)
"""
REFERENCE = """
import gzip, json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob("*/*/*.json"):
    json.loads(path.read_bytes())
    gzip.decompress(path.with_suffix(".predictions.csv.gz").read_bytes())
"""


def lay_out(root: Path, methods: int = METHODS, tasks: int = TASKS) -> list[str]:
    """Write data, a plugin of methods and tasks, and all records; return the words of a sweep of them."""
    folder = root / "data" / "FGNET" / "images"
    folder.mkdir(parents=True)
    for subject in range(1, 9):
        for age in (2, 9, 31, 60):
            noise = np.random.default_rng(100 * subject + age).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{subject:03d}A{age:02d}.JPG")
    plugin = root / "many.py"
    plugin.write_text(PLUGIN.format(methods=methods, tasks=tasks))
    write_records(plugin, root / "data", root / "results")
    words = ["sweep", "--method", "method-*", "--task", "age-*", "-o", "split=balanced-4", "--no-plugins"]
    words += ["--plugin", str(plugin), "--data", str(root / "data"), "--results", str(root / "results")]
    return words


def write_records(plugin: Path, data: Path, results: Path) -> None:
    from comface_bench.engine.jobs import Outcome
    from comface_bench.execute.plan import Request, make_plan
    from comface_bench.execute.run import (
        describe_method,
        describe_protocol,
        describe_task,
        make_provenance,
        make_unit_result,
    )
    from comface_bench.results.predictions import unit_text
    from comface_bench.results.record import Content, Header
    from comface_bench.results.store import RecordFiles, ResultStore

    request = Request(
        methods=["method-*"],
        tasks=["age-*"],
        options={"split": "balanced-4"},
        data=data,
        results=results,
        plugin_files=[plugin],
        use_plugins=False,
    )
    store, random = ResultStore(results), np.random.default_rng(0)
    for cell in make_plan(request).cells:
        content = Content(
            Header(
                describe_task(cell.task),
                describe_method(cell, 8, 10),
                describe_protocol(cell.protocol),
                make_provenance(cell),
                {},
            )
        )
        for unit in cell.units:
            target = cell.task.pairs(unit.fold, "test").target
            outcome = Outcome(target + random.normal(0, 5, len(target)), 1, [2.0, 1.0], 3.0, None, {})
            result, rows = make_unit_result(cell.task, unit, outcome, {})
            content.add(result, unit_text(rows))
        path = store.record_path(cell.task.name, cell.protocol.name, cell.method_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        predictions, record = content.files()
        RecordFiles(path).predictions.write_bytes(predictions)
        path.write_bytes(record)


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Return the least wall-clock and processor seconds of a process, of several times."""
    found = []
    for _ in range(REPEATS):
        before, began = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        wall, after = time.perf_counter() - began, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        found.append((wall, spent))
    return min(wall for wall, _ in found), min(spent for _, spent in found)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = lay_out(Path(folder))
        command = ["-m", "comface_bench", *words]
        # The first one writes the pages; a build is timed elsewhere.
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        reference = measure(["-c", REFERENCE, f"{folder}/results"])
        print(f"{'loading the files only':30} {reference[0]:5.2f} s   processor {reference[1]:5.2f} s")
        for what, more in (("sweep --dry-run", ["--dry-run"]), ("sweep, with summary and pages", [])):
            wall, spent = measure([*command, *more])
            print(f"{what:30} {wall:5.2f} s   processor {spent:5.2f} s   {spent / reference[1]:4.1f} times")


if __name__ == "__main__":
    main()
