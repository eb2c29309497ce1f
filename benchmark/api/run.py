"""Methods on tasks from Python; the command line runs the same plan."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from comface_bench.core.errors import UnitError, UsageError
from comface_bench.core.events import Event, Report
from comface_bench.core.names import check_device, is_pattern

if TYPE_CHECKING:
    from comface_bench.api.progress import Progress
    from comface_bench.api.results import Results
    from comface_bench.execute.models import Model
    from comface_bench.results.schema import Record

    Several = list[str] | tuple[str, ...]


@overload
def run(method: str, task: str, protocol: str = ..., **settings: Any) -> Record: ...


@overload
def run(method: Several, task: str | Several, protocol: str = ..., **settings: Any) -> Results: ...


@overload
def run(method: str, task: Several, protocol: str = ..., **settings: Any) -> Results: ...


def run(
    method: str | Several,
    task: str | Several,
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
    progress: Progress = True,
    report: Report | None = None,
    **overrides: str | int | float,
) -> Record | Results:
    """Run methods on tasks; finished units aren't run again.

    Of one method and one task it returns the record. Where one of them is a list, it returns the records of
    all combinations; a name that only a pattern matched is skipped, with a warning, if its data or weights
    are missing.

    Args:
        method: Name of the method, options allowed (`scratch+backbone=resnet18`), or a list of names and
            patterns (`["comface", "efficientnet-*"]`).
        task: Name of the task, options allowed (`age+split=leave-one-out`), or such a list.
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
        progress: Whether a bar of units is shown, in notebooks and on terminals; or what is called with the
            number of units that ended and of all.
        report: Called with each event of the run. By default, notices are given as warnings.
        **overrides: More of `options`, as keywords: `epochs=5, image_size=112`.

    Raises:
        BenchError: A name or option is wrong, or data or weights are missing.
        UnitError: A unit of one method on one task failed; the message lists which, the others are recorded.
            Of lists, units that failed are warned of.
    """
    from comface_bench.api.progress import watch_units
    from comface_bench.execute.plan import Request, make_plan
    from comface_bench.execute.run import run_plan

    for kind, name in (("method", method), ("task", task)):
        if isinstance(name, str) and ("," in name or is_pattern(name)):
            names = ", ".join(f'"{one.strip()}"' for one in name.split(","))
            raise UsageError(f"run takes one {kind}, not {name!r}", f"Of several, give a list: [{names}]")
    single = isinstance(method, str) and isinstance(task, str)
    twice = sorted(set(options or {}) & set(overrides))
    if twice:
        raise UsageError(f"{', '.join(twice)} is given twice: in options and as a keyword")
    settings: dict[str, str | int | float] = {**(options or {}), **overrides}
    if precision != "auto":
        if "precision" in settings:
            raise UsageError("precision is given twice: in options and as a keyword")
        settings["precision"] = precision
    check_device(device)
    request = Request(
        methods=[method] if isinstance(method, str) else list(method),
        tasks=[task] if isinstance(task, str) else list(task),
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
    plan = make_plan(request)
    tell = report or (_warn if single else _warn_of_all)
    with watch_units(plan, progress) as show:

        def tell_both(event: Event) -> None:
            show(event)
            tell(event)

        finished = run_plan(plan, request, tell_both)
    if not single:
        from comface_bench.api.results import Results

        return Results(request.results, finished.records)
    if finished.failed:
        listed = "; ".join(
            f"{unit.label}: {str(error).removeprefix(f'{unit.label}: ')}" for unit, error in finished.failed
        )
        raise UnitError(f"{len(finished.failed)} unit(s) failed: {listed}") from finished.failed[0][1]
    (record,) = finished.records
    return record


def load_model(
    record: Record | Path | str,
    *,
    results: Path | str = "results",
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
        record: A record that `run` or `load_results` gave, or its JSON, `TASK/PROTOCOL/METHOD.json` in a
            folder of results.
        results: The folder of a record that isn't given as a file.
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
    from comface_bench.results.store import ResultStore

    if isinstance(record, (str, Path)):
        path = Path(record)
    else:
        store = ResultStore(Path(results))
        path = store.record_path(record.task.name, record.protocol.name, record.method.name)
    return load(
        path,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        folds=folds,
        seeds=seeds,
        device=device,
        find_faces=find_faces,
        plugin_files=[Path(file) for file in plugins],
    )


def _warn(event: Event) -> None:
    if event.kind == "notice":
        warnings.warn(event.text, stacklevel=3)


def _warn_of_all(event: Event) -> None:
    """Warn of what a list lacks in the end, too."""
    if event.kind in ("skip", "failure"):
        warnings.warn(f"{'skipped' if event.kind == 'skip' else 'failed'}: {event.text}", stacklevel=3)
    else:
        _warn(event)
