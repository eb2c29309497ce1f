"""From a study's plan to its table: the records that are there, their intervals, and the paper's values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.core.card import data_root
from comface_bench.core.errors import hide_paths
from comface_bench.core.names import parse_name
from comface_bench.core.weights import weights_folder
from comface_bench.leaderboards.document import BoardEntry, shown_marks
from comface_bench.leaderboards.formatting import precise
from comface_bench.leaderboards.paper import (
    PaperCell,
    PaperValue,
    paper_row_values,
    paper_values,
    protocol_base,
)
from comface_bench.leaderboards.study import StudyCell, StudyColumn, StudyRow, StudyTable
from comface_bench.results.store import ResultStore
from comface_bench.studies.plan import SAME_METHOD, Gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comface_bench.execute.plan import PlannedRecord
    from comface_bench.results.schema import Record
    from comface_bench.studies.plan import Row, StudyPlan

    Ends = tuple[float | None, float | None]
    Intervals = Mapping[tuple[str, str], Ends]
    """Ends of the interval of a (digest of a record, metric)."""

NOT_RUN = "not run yet"


def make_table(plan: StudyPlan, command: str, known: Intervals) -> StudyTable:
    """Make a study's table of the records that are there.

    Args:
        plan: The study as it is planned now, since its cells say what is finished.
        command: The line that makes it.
        known: Intervals that needn't be computed again.

    Raises:
        ResultError: A record can't be read, or its predictions aren't its own.
    """
    study, entries = plan.study, list[BoardEntry]()
    metrics: dict[str, list[str]] = {}
    for column in plan.columns:
        metrics.setdefault(column.task, []).append(column.metric)
    # Tables are shared, and paths may name people.
    folders = {data_root(grid.data): "DATA" for grid in plan.grids}
    folders |= {weights_folder(): "WEIGHTS", **{grid.results: "RESULTS" for grid in plan.grids}}
    rows = []
    for number, row in enumerate(plan.rows):
        cells, seconds, backbone = list[StudyCell](), 0.0, row.topology
        for task, names in metrics.items():
            planned = plan.cells.get((number, task), Gap("no run of this row has the task"))
            paper = _published(row, task, planned, plan.study.table)
            record = None if isinstance(planned, Gap) else _load(planned, names)
            if record is None:
                gap = planned if isinstance(planned, Gap) else _explain(planned, command)
                why, hint = (hide_paths(text, folders) for text in (gap.reason, gap.hint))
                cells += [StudyCell(paper=paper.get(name), missing=why, hint=hint) for name in names]
                continue
            entry = BoardEntry.of(record)
            entries.append(entry)
            backbone = entry.backbone_text
            seconds += sum(unit.seconds for unit in record.units)
            cells += _measured(plan, record, entry, names, paper, known)
        made = StudyRow(row.label, row.method, row.group, backbone, row.x, row.line, seconds, tuple(cells))
        rows.append(made)
    return StudyTable(
        name=study.name,
        title=study.title,
        summary=study.summary,
        letter=study.table,
        axis=study.axis,
        notes=study.notes,
        command=command,
        columns=tuple(StudyColumn(one.task, one.metric, one.unit, one.ships) for one in plan.columns),
        rows=tuple(rows),
        marks=tuple(shown_marks(entries)),
    )


def _load(planned: PlannedRecord, metrics: Sequence[str]) -> Record | None:
    """Read the record of planned work, if any of it is finished; with metrics that its task has gained."""
    if not planned.finished:
        return None
    store = ResultStore(planned.request.results)
    record = store.load(planned.task.name, planned.protocol.name, planned.method_name)
    if record is None:
        return None
    lacking = [name for name in metrics if name not in record.task.metrics]
    return store.score(record, [*record.task.metrics, *lacking]) if lacking else record


def _explain(planned: PlannedRecord, command: str) -> Gap:
    """Say why work that can be done has no result."""
    record = ResultStore(planned.request.results).load(
        planned.task.name, planned.protocol.name, planned.method_name
    )
    failures = dict.fromkeys(failure.message for failure in record.failures) if record else {}
    return Gap(f"failed: {'; '.join(failures)}" if failures else NOT_RUN, command)


def _measured(
    plan: StudyPlan,
    record: Record,
    entry: BoardEntry,
    names: Sequence[str],
    paper: Mapping[str, PaperValue],
    known: Intervals,
) -> Iterator[StudyCell]:
    """Yield the cells of a record, one for each metric."""
    digest = record.digest or ""
    ends = {name: known[digest, name] for name in names if (digest, name) in known}
    if len(ends) < len(names):
        (results,) = {grid.results for grid in plan.grids}
        ends = _resample(ResultStore(results), record, entry, names)
    marks = entry.marks
    for name in names:
        value = record.primary[name]
        low, high = ends[name]
        missing = f"no value: {value.reason}" if value.value is None else ""
        yield StudyCell(
            value=value.value,
            low=low,
            high=high,
            complete=entry.complete,
            marks=marks,
            record=digest,
            paper=paper.get(name),
            missing=missing,
            apart=entry.apart,
        )
        marks = ""


def _resample(store: ResultStore, record: Record, entry: BoardEntry, names: Sequence[str]) -> dict[str, Ends]:
    """Compute the intervals of a record's metrics, by resampling people, as boards have them."""
    from comface_bench.stats.bootstrap import Resamples, score
    from comface_bench.stats.predictions import PredictionSet

    columns = store.load_columns(record)
    counted = PredictionSet.of_columns(columns, record.task.aggregate, record.summary.seeds)
    resamples = Resamples.draw(counted.subjects, entry.data)
    scores = score({entry.method: counted}, names, resamples, {entry.method: entry.metrics})
    found = {name: scores[name].interval(entry.method) for name in names}
    return {name: (_rounded(one.low), _rounded(one.high)) for name, one in found.items()}


def _rounded(value: float | None) -> float | None:
    """Round as files do, so that an interval is the same whether it was computed or read from one."""
    return None if value is None else float(precise(value))


def _published(row: Row, task: str, planned: PlannedRecord | Gap, letter: str) -> Mapping[str, PaperValue]:
    """Look up what the supplement publishes for the very thing that a row measures on a task."""
    if isinstance(planned, Gap):
        if not row.plain:
            return {}
        method, protocol, start = row.method, row.protocol, row.head_start
    else:
        task, method, protocol = planned.task.name, planned.method_name, planned.protocol.name
        start = str(getattr(planned.protocol, "head_start", row.head_start))
    base, options = parse_name(method)
    if not options.keys() <= SAME_METHOD:
        return {}
    if row.paper:
        cell = PaperCell(task, protocol_base(protocol), start, base, row.topology)
        return paper_row_values(letter, row.paper, cell)
    return paper_values(task, protocol, base, row.topology, start)
