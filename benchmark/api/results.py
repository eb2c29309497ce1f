"""Results in Python: the records of a folder, chosen, tabled, compared and plotted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from comface_bench.core.display import format_count, html_table, short_repr, text_table, visible
from comface_bench.core.errors import ResultError, UsageError
from comface_bench.core.names import choose_names
from comface_bench.results.store import ResultStore, no_record_in, require_results

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from comface_bench.data.task import Task
    from comface_bench.leaderboards.comparison import MethodComparison
    from comface_bench.results.schema import Record

Names = str | Iterable[str]


def load_results(folder: Path | str = "results") -> Results:
    """Load the records of a folder of results.

    Raises:
        DataMissingError: There is no such folder, or no record in it.
        ResultError: A file isn't a record, or was changed since it was written.
    """
    store = ResultStore(Path(folder))
    require_results(store.root)
    records = list(store.records())
    if not records:
        raise no_record_in(folder)
    return Results(store.root, records)


class Results(Sequence["Record"]):
    """Records of one folder; `load_results` and `run` make it.

    Args:
        folder: The folder of results.
        records: Some of its records, or all.

    Attributes:
        folder: As given.
    """

    def __init__(self, folder: Path, records: Iterable[Record]) -> None:
        self.folder = folder
        self._place = folder.absolute()  # Whoever works in a notebook may change the directory meanwhile.
        self._records = tuple(records)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @overload
    def __getitem__(self, which: int) -> Record: ...

    @overload
    def __getitem__(self, which: slice) -> Results: ...

    def __getitem__(self, which: int | slice) -> Record | Results:
        """Return the record of a place, or the results of a slice."""
        if isinstance(which, slice):
            return Results(self.folder, self._records[which])
        return self._records[which]

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in the records' order."""
        return list(dict.fromkeys(record.method.name for record in self))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, likewise."""
        return list(dict.fromkeys(record.task.name for record in self))

    @property
    def protocols(self) -> list[str]:
        """Names of the protocols, likewise."""
        return list(dict.fromkeys(record.protocol.name for record in self))

    def of(
        self, method: Names | None = None, task: Names | None = None, protocol: Names | None = None
    ) -> Results:
        """Return the records of some methods, tasks and protocols.

        Args:
            method: A name, a pattern, several with commas between them, or a list of such; None for all.
            task: Likewise.
            protocol: Likewise.

        Raises:
            UnknownNameError: No record here has such a name; names the nearest.
        """
        methods = choose_names(method, self.methods, "method")
        tasks = choose_names(task, self.tasks, "task")
        protocols = choose_names(protocol, self.protocols, "protocol")
        chosen = (
            record
            for record in self
            if record.method.name in methods
            and record.task.name in tasks
            and record.protocol.name in protocols
        )
        return Results(self.folder, chosen)

    def to_frame(self, by: Literal["record", "unit"] = "record") -> pandas.DataFrame:
        """Return a table.

        Args:
            by: `record` for a row a record, or `unit` for a row for each fold and seed of each record.

        Returns:
            Names and counts, then each metric in its own unit (`acc` as a fraction) and its `constant_`
            counterpart, of always answering 0; NaN where a metric has no value or a task doesn't have it.
        """
        from comface_bench.leaderboards.document import BoardEntry
        from comface_bench.leaderboards.pages import record_table

        if by == "record":
            return record_table([BoardEntry.of(record) for record in self])
        if by != "unit":
            raise UsageError(f"a table by {by!r} isn't there", "by is record or unit.")
        import pandas

        metrics = list(dict.fromkeys(name for record in self for name in record.task.metrics))
        rows = []
        for record in self:
            for unit in record.units:
                row: dict[str, Any] = {**_names(record), "fold": unit.fold, "seed": unit.seed}
                row |= {"n_pairs": unit.n_pairs, "n_subjects": unit.n_subjects}
                for prefix, found in (("", unit.metrics), ("constant_", unit.constant)):
                    row |= {f"{prefix}{name}": found[name].value for name in metrics if name in found}
                row |= {"best_epoch": unit.best_epoch, "seconds": unit.seconds}
                row |= {"peak_memory_mb": unit.peak_memory_mb, "key": unit.key}
                rows.append(row)
        columns = ["task", "protocol", "method", "fold", "seed", "n_pairs", "n_subjects", *metrics]
        columns += [f"constant_{name}" for name in metrics]
        columns += ["best_epoch", "seconds", "peak_memory_mb", "key"]
        numbers = [*metrics, *(f"constant_{name}" for name in metrics), "peak_memory_mb"]
        return pandas.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))

    def predictions(self, *, images: bool = False, data: Path | str | None = None) -> pandas.DataFrame:
        """Return the test predictions of these records, a row for each pair.

        Args:
            images: Whether the names of both images stand beside each pair. Records hold no names: they are
                looked up in the data, whose digest must be the record's.
            data: Data root; default COMFACE_DATA, else `data`. Of `csv:` tasks, the table or its folder.

        Returns:
            `task, protocol, method, fold, seed, pair, subject`, then `y, yhat`, the true and the estimated
            change in the target's unit; with `images` also `first, second`, paths below the data's folder.

        Raises:
            ResultError: Predictions aren't there, or aren't the record's.
            DataMissingError: The data aren't there.
            UsageError: They are others than the record's.
        """
        import pandas

        store, names = ResultStore(self._place), _PairNames(Path(data) if data is not None else None)
        tables = []
        for record in self:
            for (fold, seed), columns in store.load_columns(record).items():
                table: dict[str, Any] = {**_names(record), "fold": fold, "seed": seed}
                table |= {"pair": columns.pairs, "subject": columns.subjects}
                table |= {"y": columns.y, "yhat": columns.yhat}
                if images:
                    table |= dict(zip(("first", "second"), names.of(record, columns.pairs), strict=True))
                tables.append(pandas.DataFrame(table))
        if not tables:
            raise UsageError("these records have no predictions: none of their units finished")
        return pandas.concat(tables, ignore_index=True)

    def compare(
        self,
        a: str,
        b: str,
        *,
        task: str | None = None,
        protocol: str | None = None,
        metric: str | None = None,
    ) -> Comparisons:
        """Compare two methods on each task and protocol that both have a record of here.

        Differences, intervals and corrected p are those of the leaderboard's pages, computed over all records
        of the folder that stand on the same board.

        Args:
            a: Name of a method.
            b: Name of another; differences are those of `a` minus those of `b`.
            task: Names and patterns with commas between them; all by default.
            protocol: Likewise.
            metric: Name of a metric; each task's first by default.

        Raises:
            UnknownNameError: There is no record of a method, or no such task, protocol or metric.
            UsageError: They have no task and protocol in common.
        """
        from comface_bench.leaderboards.comparison import compare_methods

        chosen = {"task": task, "protocol": protocol, "metric": metric}
        return Comparisons(compare_methods(self._place, a, b, **chosen, records=self))

    def plot(
        self,
        task: str | None = None,
        protocol: str | None = None,
        *,
        metric: str | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw a forest plot: the 95 % intervals of these methods on one task under one protocol.

        Args:
            task: Name; may be left out where there is one.
            protocol: Likewise.
            metric: Name of a metric; the task's first by default.
            ax: Where to draw; a new figure of matplotlib by default.

        Returns:
            The axes.

        Raises:
            MissingExtraError: matplotlib isn't installed.
            UsageError: There are several tasks or protocols, or no method has a value.
            UnknownNameError: There is no such task, protocol or metric.
        """
        from comface_bench.leaderboards.comparison import read_board
        from comface_bench.leaderboards.forest import draw_forest

        shown = self.of(task=task, protocol=protocol)
        for kind, names in (("task", shown.tasks), ("protocol", shown.protocols)):
            if len(names) != 1:
                raise UsageError(f"a plot is of one {kind}", f"Name it: {kind}= one of {', '.join(names)}")
        place = (shown.tasks[0], shown.protocols[0])
        entries, arranged, name = read_board(ResultStore(self._place), place, metric)
        return draw_forest(entries, arranged, name, shown.methods, ax)

    def __repr__(self) -> str:
        names = {"method": self.methods, "task": self.tasks, "protocol": self.protocols}
        said = [format_count(len(some), kind) for kind, some in names.items()]
        if failed := sum(len(record.failures) for record in self):
            said.append(f"{format_count(failed, 'unit')} failed")
        return short_repr("Results", str(self.folder), format_count(len(self), "record"), *said)

    def _repr_html_(self) -> str:
        from comface_bench.stats.metrics import describe_metric

        rows = []
        for record in self:
            name, unit = record.task.metrics[0], record.task.unit
            heading, value = describe_metric(name, record.primary[name], unit)
            constant = describe_metric(name, record.summary.constant[name], unit)[1]
            folds = f"{len(record.summary.folds_done)}/{record.task.folds}"
            rows.append([*_names(record).values(), heading, value, constant, folds])
        headings = ["task", "protocol", "method", "metric", "value", "no change", "folds"]
        return html_table(headings, rows, repr(self).strip("<>"), headings[4:])


class Comparisons(Sequence["MethodComparison"]):
    """Two methods, compared on several tasks and protocols; `Results.compare` makes it."""

    def __init__(self, made: Iterable[MethodComparison]) -> None:
        self._made = tuple(made)

    def __len__(self) -> int:
        return len(self._made)

    def __iter__(self) -> Iterator[MethodComparison]:
        return iter(self._made)

    @overload
    def __getitem__(self, which: int) -> MethodComparison: ...

    @overload
    def __getitem__(self, which: slice) -> Comparisons: ...

    def __getitem__(self, which: int | slice) -> MethodComparison | Comparisons:
        """Return the comparison of a place, or those of a slice."""
        return Comparisons(self._made[which]) if isinstance(which, slice) else self._made[which]

    def to_frame(self) -> pandas.DataFrame:
        """Return a table, a row for each task and protocol: all numbers, and reasons where there are none."""
        import pandas

        return pandas.DataFrame([one.facts for one in self])

    def __repr__(self) -> str:
        return "\n".join([text_table(*self._table()), *(visible(one.sentence) for one in self)])

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + html_table(["in words"], [[one.sentence] for one in self])

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = [one.cells for one in self]
        return list(rows[0]) if rows else [], [list(row.values()) for row in rows]


@dataclasses.dataclass
class _PairNames:
    """Names of the images of pairs, looked up in the data."""

    data: Path | None
    _tasks: dict[str, Task] = dataclasses.field(default_factory=dict)

    def of(self, record: Record, pairs: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the names of the first and of the second images of pairs.

        Raises:
            DataMissingError: The data aren't there.
            UsageError: They, or their folds, are others than the record's.
            ResultError: The record has a pair that they haven't.
        """
        name = record.task.name
        task = self._open(name)
        if (task.table.digest, task.split.digest) != (record.task.manifest_digest, record.task.split_digest):
            what = "data" if task.table.digest != record.task.manifest_digest else "folds"
            raise UsageError(
                f"the {what} of {name} under {task.table.root} are others than those of the record of"
                f" {record.method.name}",
                "Name the folder of the record's own data: data=DIR",
            )
        sides: tuple[list[str], list[str]] = ([], [])
        for pair in pairs:
            found = task.sampler.find_images(pair)
            if found is None:
                raise ResultError(f"{name} has no pair {pair!r}, but the record of {record.method.name} has")
            for side, row in zip(sides, found, strict=True):
                side.append(task.table.images[row])
        return sides

    def _open(self, name: str) -> Task:
        from comface_bench.data.task import load_task

        if name not in self._tasks:
            base, plus, options = name.partition("+")
            if base.startswith("csv:") and self.data is not None:
                # Records name a table without its folder.
                table = self.data if self.data.is_file() else self.data / base.removeprefix("csv:")
                self._tasks[name] = load_task(f"csv:{table}{plus}{options}")
            else:
                self._tasks[name] = load_task(name, self.data)
        return self._tasks[name]


def _names(record: Record) -> dict[str, str]:
    return {"task": record.task.name, "protocol": record.protocol.name, "method": record.method.name}
