"""Every metric of a record once more, from its predictions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comface_bench.core.errors import BenchError
from comface_bench.core.findings import Finding
from comface_bench.results.store import RecordFiles
from comface_bench.results.validation import LineIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from comface_bench.results.predictions import FoldSeed, Prediction
    from comface_bench.results.schema import Record, Summary, UnitResult
    from comface_bench.stats.metrics import MetricValue

TOLERANCE: Final = 1e-9
"""Largest difference that is still equal, relative to max(1, |value|)."""

_HINT = "Its numbers aren't those of its predictions: don't count it, and make it again: comface-bench run"


def recompute_record(path: Path) -> list[Finding]:
    """Compute every metric of every unit, the no-change baseline's and the summary again; nothing is changed.

    Args:
        path: The record's JSON; its predictions are read from beside it.

    Returns:
        Where a stored number isn't the one computed, or can't be; empty if all are equal.
    """
    from comface_bench.results.predictions import parse_line, read_texts
    from comface_bench.results.record import load_record

    predictions = RecordFiles(path).predictions
    file = path
    try:
        record = load_record(path)
        file = predictions
        texts = read_texts(predictions)
        rows = {
            place: [parse_line(line, f"fold {place[0]}, seed {place[1]}") for line in text.splitlines()]
            for place, text in texts.items()
        }
    except BenchError as error:
        return [Finding(str(file), "", error.message.removeprefix(f"{file}: "), error.hint)]
    missing = [unit for unit in record.units if (unit.fold, unit.seed) not in rows]
    if missing:
        return [
            Finding(str(predictions), f"fold {unit.fold}, seed {unit.seed}", "has no predictions", _HINT)
            for unit in missing
        ]
    differences = list(_differences(record, rows, texts))
    lines = LineIndex(path.read_bytes() if differences else b"")
    return [Finding(str(path), place, message, _HINT, lines.of(place)) for place, message in differences]


def _differences(
    record: Record, rows: Mapping[FoldSeed, list[Prediction]], texts: Mapping[FoldSeed, str]
) -> Iterator[tuple[str, str]]:
    from comface_bench.results.record import summarise

    again = {}
    for number, unit in enumerate(record.units):
        try:
            fresh = _recompute_unit(record, unit, rows[unit.fold, unit.seed])
        except (BenchError, ValueError) as error:
            yield f"units.{number}", f"can't be computed: {error}"
            return
        again[unit.fold, unit.seed] = fresh
        for field in ("metrics", "constant"):
            stored, computed = getattr(unit, field), getattr(fresh, field)
            yield from _compare(stored, computed, f"units.{number}.{field}")
        for field in ("n_pairs", "n_subjects"):
            yield from _compare_exactly(unit, fresh, field, f"units.{number}")
    failures = {(failure.fold, failure.seed): failure for failure in record.failures}
    summary = summarise(record.task, again, failures, texts)
    for field in ("pooled", "fold_mean", "constant"):
        yield from _compare(getattr(record.summary, field), getattr(summary, field), f"summary.{field}")
    for field in ("n_pairs", "n_subjects", "folds_done", "seeds", "complete"):
        yield from _compare_exactly(record.summary, summary, field, "summary")


def _recompute_unit(record: Record, unit: UnitResult, rows: list[Prediction]) -> UnitResult:
    from comface_bench.stats.metrics import compute_metrics, no_change_baseline

    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return unit.model_copy(
        update={
            "metrics": compute_metrics(y, yhat, record.task.metrics),
            "constant": no_change_baseline(y, record.task.metrics),
            "n_pairs": len(rows),
            "n_subjects": len({row.subject for row in rows}),
        }
    )


def _compare(
    stored: Mapping[str, MetricValue], computed: Mapping[str, MetricValue], place: str
) -> Iterator[tuple[str, str]]:
    if set(stored) != set(computed):
        yield place, "its metrics aren't the task's"
    for name in stored.keys() & computed.keys():
        if not _equal(stored[name], computed[name]):
            yield f"{place}.{name}", f"{_shown(stored[name])} is stored, but it is {_shown(computed[name])}"


def _compare_exactly(
    stored: UnitResult | Summary, computed: UnitResult | Summary, field: str, place: str
) -> Iterator[tuple[str, str]]:
    one, other = getattr(stored, field), getattr(computed, field)
    if one != other:
        yield f"{place}.{field}", f"{one} is stored, but it is {other}"


def _equal(stored: MetricValue, computed: MetricValue) -> bool:
    if stored.value is None or computed.value is None:
        return stored == computed
    return abs(stored.value - computed.value) <= TOLERANCE * max(1.0, abs(computed.value))


def _shown(metric: MetricValue) -> str:
    return f"none ({metric.reason})" if metric.value is None else repr(metric.value)
