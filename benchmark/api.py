"""One method on one task from Python; the command line runs the same plan."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import UnitError, UsageError
from comface_bench.core.events import Event, Report
from comface_bench.core.names import is_pattern

if TYPE_CHECKING:
    from comface_bench.execute.models import Model
    from comface_bench.results.schema import Record


def run(
    method: str,
    task: str,
    protocol: str = "linear",
    *,
    data: Path | str | None = None,
    results: Path | str = "results",
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    device: str = "auto",
    precision: str = "auto",
    plugins: Sequence[Path | str] = (),
    options: Mapping[str, str | int | float] | None = None,
    again: bool = False,
    save_models: bool = False,
    report: Report | None = None,
    **overrides: str | int | float,
) -> Record:
    """Run one method on one task and return its record; finished units aren't run again.

    Args:
        method: Name of the method, options allowed (`scratch+backbone=resnet18`).
        task: Name of the task, options allowed (`age+split=leave-one-out`).
        protocol: `linear`, `finetune`, `quick` or a plugin's, overrides allowed.
        data: Data root; default COMFACE_DATA, else `data`.
        results: Folder of records.
        folds: Folds to run; None for all.
        seeds: Repetitions to run.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `float32` or `bfloat16`; the option of that name.
        plugins: Files that declare further methods, tasks, protocols or metrics.
        options: What `-o key=value` sets on the command line.
        again: Run units although they are finished; each replaces its former result once it is done.
        save_models: Keep trained backbones, too, for `load_model`; make models that finished units lack.
        report: Called with each event of the run. By default, notices are given as warnings.
        **overrides: More of `options`, as keywords: `epochs=5, image_size=112`.

    Raises:
        BenchError: A name or option is wrong, or data or weights are missing.
        UnitError: A unit failed; the message lists which, the others are recorded.
    """
    from comface_bench.execute.plan import Request, make_plan
    from comface_bench.execute.run import run_plan

    for kind, name in (("method", method), ("task", task)):
        if "," in name or is_pattern(name):
            raise UsageError(f"run takes one {kind}, not {name!r}", "Call it once for each.")
    twice = sorted(set(options or {}) & set(overrides))
    if twice:
        raise UsageError(f"{', '.join(twice)} is given twice: in options and as a keyword")
    settings: dict[str, str | int | float] = {**(options or {}), **overrides}
    if precision != "auto":
        settings.setdefault("precision", precision)
    request = Request(
        methods=[method],
        tasks=[task],
        protocol=protocol,
        options={key: str(value) for key, value in settings.items()},
        data=Path(data) if data is not None else None,
        results=Path(results),
        folds=folds,
        seeds=seeds,
        device=device,
        plugin_files=[Path(file) for file in plugins],
        again=again,
        save_models=save_models,
    )
    finished = run_plan(make_plan(request), request, report or _warn)
    if finished.failed:
        listed = "; ".join(f"{unit.label}: {error}" for unit, error in finished.failed)
        raise UnitError(f"{len(finished.failed)} unit(s) failed: {listed}") from finished.failed[0][1]
    (record,) = finished.records
    return record


def load_model(
    record: Path | str,
    *,
    checkpoint: Path | str | None = None,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    find_faces: bool = True,
    plugins: Sequence[Path | str] = (),
) -> Model:
    """Load the models of a record, to estimate changes between photographs of anybody.

    `load_model(record).predict(first, second)` gives the change and its interval; `predict_pairs` takes many.

    Args:
        record: The record's JSON, `TASK/PROTOCOL/METHOD.json` in a folder of results.
        checkpoint: The method's weights file, where the record was made with one of the user's own.
        folds: Folds whose models answer; None for all.
        seeds: Their repetitions; None for all.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        find_faces: Whether photographs without a face are refused, where dlib is installed.
        plugins: Files that declare the method or the protocol.

    Raises:
        BenchError: There are no such models, or method, weights or protocol aren't those of the record.
    """
    from comface_bench.execute.models import load_model as load

    return load(
        Path(record),
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        folds=folds,
        seeds=seeds,
        device=device,
        find_faces=find_faces,
        plugin_files=[Path(file) for file in plugins],
    )


def _warn(event: Event) -> None:
    if event.kind == "notice":
        warnings.warn(event.text, stacklevel=2)
