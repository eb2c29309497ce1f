"""The document that every format is written from: boards, their rows and columns, and rankings."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Self

from comface_bench.leaderboards.formatting import DASH, INCOMPLETE
from comface_bench.leaderboards.paper import (
    HEAD_STARTS,
    OTHER,
    default_head_start,
    family_of,
    group_order,
    is_paper_board,
    method_order,
    paper_metrics,
    paper_values,
    protocol_base,
    protocol_order,
    published_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comface_bench.leaderboards.paper import PaperValue
    from comface_bench.results.schema import MethodInfo, Record
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue
    from comface_bench.stats.ranks import RankCorrelation, Standing
    from comface_bench.stats.significance import PairedDifference

Fact = bool | int | float | str | tuple[str, ...] | tuple[int, ...] | None

OVERALL = "overall"
FEWEST_GROUPED = 3
"""Tasks of one quantity on one data set that pages take together."""
MOST_COMPARED = 25
"""Methods of a board of which each is compared with each other."""
QUANTITIES = ("expression", "weight", "age")
"""What a task may be about so that its card's family says it; of any other, its target does."""
APART = "taught what is asked, placed apart"
"""Stands in the heading of their group."""

_TOPOLOGIES = {
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "vit_base_patch16": "ViT-B/16",
}
"""Backbones that methods offer as an option, as tables print them."""
_GENERATORS = {"synthfaces": "synthetic faces"}
"""Folder of rendered data sets, and the name by which a method's card lists faces of the same generator."""


@dataclasses.dataclass(frozen=True)
class BoardEntry:
    """One record, as boards show it.

    Attributes:
        task, protocol, method, group, kind: Names; the kind is `ours`, `submitted` or `paper`.
        data, target, unit, split: The data set, the quantity and its unit, the split.
        aggregate: `pooled` or `fold-mean`, the way in which folds are taken together.
        version: Digests of data and split, and the engine's epoch; different versions can't be compared.
        metrics: The task's metrics by name, its primary summary.
        fold_means: The mean of the folds' metrics.
        baseline: The same of the no-change baseline, which always answers 0.
        folds_done: Number of folds done.
        folds: Number of folds of the split.
        seeds: Seeds that occur.
        n_pairs, n_subjects: Distinct test pairs and subjects.
        failures: Number of failed units.
        complete: Whether the record may be ranked.
        no_better_than_baseline: Whether its error is no smaller than that of the no-change baseline.
        undertrained: Whether half or more of its heads were still improving at their last epoch.
        overlap: Data sets of its pre-training that hold people of the task's data.
        same_generator: Whether it was pre-trained on faces of the generator that made the task's.
        rendered: Whether the task's faces are rendered.
        mixed_versions: Whether records beside it are of another version of data or split.
        trained_on: Data sets of its pre-training.
        training_scale, licence: As the method's card, or the note of a submission, said; empty where unknown.
        backbone: Its topology, as the chosen option or the method's card says; empty where unknown.
        parameters: Number of the backbone's parameters.
        head_start: `scratch` or `pretrained`; empty for protocols that have none.
        images_per_second: Mean over units; None where it wasn't measured.
        faces: Where faces were aligned, how those of the data set were come by; else empty.
        quantity: What kind of quantity the task is about, its card's family: `expression`, `weight`, `age` or
            `custom`. In rankings each of them counts the same.
        supervision: What the method was taught to tell, as its card says; empty where it doesn't.
        apart: Whether that is the very quantity that the task asks. Such rows are no measure of
            representation learning: they stand in a group of their own, with places among themselves.
        image_size: Side of the squares that the protocol gives to the encoder, in pixels; 0 if unknown.
        input_size: Side of what the backbone saw of them, which takes some sizes only; 0 if unknown.
        alignment: How faces were cut out of the pictures; empty where the whole pictures were shown.
        summary: What the task asks, a sentence of its card; empty where it has none.
    """

    task: str
    protocol: str
    method: str
    group: str
    kind: str
    data: str
    target: str
    unit: str
    split: str
    aggregate: str
    version: tuple[str, str, str]
    metrics: dict[str, MetricValue]
    fold_means: dict[str, MetricValue]
    baseline: dict[str, MetricValue]
    folds_done: int
    folds: int
    seeds: tuple[int, ...]
    n_pairs: int
    n_subjects: int
    failures: int
    complete: bool
    no_better_than_baseline: bool
    overlap: tuple[str, ...]
    undertrained: bool = False
    same_generator: bool = False
    rendered: bool = False
    mixed_versions: bool = False
    trained_on: tuple[str, ...] = ()
    training_scale: str = ""
    licence: str = ""
    backbone: str = ""
    parameters: int = 0
    head_start: str = ""
    images_per_second: float | None = None
    faces: str = ""
    quantity: str = "custom"
    supervision: tuple[str, ...] = ()
    apart: bool = False
    image_size: int = 0
    input_size: int = 0
    alignment: str = ""
    own_days: bool = False
    summary: str = ""

    @classmethod
    def of(cls, record: Record) -> Self:
        """Take from a record what boards show."""
        task, summary = record.task, record.summary
        trained_on = tuple(map(str, record.method.card.get("trained_on", ())))
        quantity = str(task.card.get("family", "custom"))
        taught = quantity if quantity in QUANTITIES else task.target
        supervision = _supervision(record.method)
        apart = taught in supervision
        values = record.protocol.values
        image_size = int(values.get("image_size") or 0)
        return cls(
            task=task.name,
            protocol=record.protocol.name,
            method=record.method.name,
            group=set_apart(taught) if apart else str(record.method.card.get("group", OTHER)),
            kind=record.provenance.kind,
            data=task.data,
            target=task.target,
            unit=task.unit,
            split=task.split,
            aggregate=task.aggregate,
            version=(
                task.manifest_digest,
                task.split_digest,
                str(record.protocol.values.get("engine_epoch")),
            ),
            metrics={name: record.primary[name] for name in task.metrics},
            fold_means={name: summary.fold_mean[name] for name in task.metrics},
            baseline={name: summary.constant[name] for name in task.metrics},
            folds_done=len(summary.folds_done),
            folds=task.folds,
            seeds=tuple(summary.seeds),
            n_pairs=summary.n_pairs,
            n_subjects=summary.n_subjects,
            failures=len(record.failures),
            complete=summary.complete,
            no_better_than_baseline=record.no_better_than_baseline,
            overlap=tuple(name for name in trained_on if name in task.card.get("overlaps", [])),
            undertrained=record.undertrained,
            same_generator=_GENERATORS.get(task.data.partition("/")[0]) in trained_on,
            rendered=task.data.partition("/")[0] in _GENERATORS,
            trained_on=trained_on,
            training_scale=record.method.about.training_scale,
            licence=record.method.about.licence,
            backbone=_backbone(record.method),
            parameters=record.method.parameters,
            head_start=str(values.get("head_start", "")),
            images_per_second=_images_per_second(record),
            faces=_faces(record),
            quantity=quantity,
            supervision=supervision,
            apart=apart,
            image_size=image_size,
            input_size=_input_size(record, image_size),
            alignment=_alignment(values.get("align")),
            own_days=values.get("split_kind") == "days",
            summary=task.about.summary,
        )

    @property
    def ranked(self) -> bool:
        """True if best and second are chosen among this: complete, and measured."""
        return self.complete and self.kind != "paper"

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key within a board: the supplement's groups and order, then by name."""
        return method_order(self.group, self.method)

    @property
    def asks(self) -> str:
        """What the task asks, in a sentence: of its card, else of its target and unit."""
        in_unit = f", in {self.unit}," if self.unit else ""
        return self.summary or f"Change of {self.target}{in_unit} between two images of one person."

    @property
    def marks(self) -> str:
        """Signs of the row's marks, each with a space in front."""
        return marks_text([self])

    @property
    def topology(self) -> str:
        """The backbone without what its card says of variants, as the supplement's tables name it."""
        return topology_of(self.backbone)

    @property
    def backbone_text(self) -> str:
        """The topology and the number of its parameters, for tables; a dash where neither is known."""
        count = _count_text(self.parameters) if self.parameters else ""
        return ", ".join(filter(None, (self.topology, count))) or DASH

    @property
    def input_text(self) -> str:
        """What the backbone saw, for tables: `224 px`, `224 → 150 px`, `five-points, 112 px`."""
        if not self.image_size:
            return DASH
        resized = self.input_size and self.input_size != self.image_size
        size = f"{self.image_size} → {self.input_size} px" if resized else f"{self.image_size} px"
        return f"{self.alignment}, {size}" if self.alignment else size


@dataclasses.dataclass(frozen=True)
class Column:
    """One fact of records, said once for all formats.

    Attributes:
        value: The fact; None for none.
        table: Table of a board's page that has it, `Methods` or `Runs`; empty for facts that only files for
            other programs hold.
        heading: In that table.
        shown: The fact as that table prints it, where that isn't the value itself.
    """

    value: Callable[[BoardEntry], Fact]
    table: Literal["", "Methods", "Runs"] = ""
    heading: str = ""
    shown: Callable[[BoardEntry], str] | None = None

    def text(self, entry: BoardEntry) -> str:
        """Print the fact for tables that readers see; empty for none."""
        if self.shown is not None:
            return self.shown(entry)
        value = self.value(entry)
        if isinstance(value, tuple):
            return ", ".join(map(str, value))
        return f"{value:,}" if isinstance(value, int) else str(value or "")


COLUMNS: dict[str, Column] = {
    "task": Column(lambda entry: entry.task),
    "protocol": Column(lambda entry: entry.protocol),
    "method": Column(lambda entry: entry.method),
    "group": Column(lambda entry: entry.group),
    "kind": Column(lambda entry: entry.kind),
    "complete": Column(lambda entry: entry.complete),
    "idle": Column(lambda entry: entry.no_better_than_baseline),
    "data": Column(lambda entry: entry.data),
    "target": Column(lambda entry: entry.target),
    "unit": Column(lambda entry: entry.unit),
    "split": Column(lambda entry: entry.split),
    "manifest_digest": Column(lambda entry: entry.version[0]),
    "split_digest": Column(lambda entry: entry.version[1]),
    "aggregate": Column(lambda entry: entry.aggregate),
    "folds_done": Column(
        lambda entry: entry.folds_done, "Runs", "Folds", lambda entry: f"{entry.folds_done}/{entry.folds}"
    ),
    "folds": Column(lambda entry: entry.folds),
    "seeds": Column(lambda entry: entry.seeds, "Runs", "Seeds"),
    "pairs": Column(lambda entry: entry.n_pairs, "Runs", "Pairs"),
    "subjects": Column(lambda entry: entry.n_subjects, "Runs", "Subjects"),
    "failures": Column(lambda entry: entry.failures, "Runs", "Failed"),
    "overlap": Column(lambda entry: entry.overlap),
    "undertrained": Column(lambda entry: entry.undertrained),
    "same_generator": Column(lambda entry: entry.same_generator),
    "mixed_versions": Column(lambda entry: entry.mixed_versions),
    "backbone": Column(lambda entry: entry.backbone, "Methods", "Backbone"),
    "input": Column(lambda entry: entry.input_text),
    "image_size": Column(lambda entry: entry.image_size),
    "input_size": Column(lambda entry: entry.input_size),
    "alignment": Column(lambda entry: entry.alignment),
    "head_start": Column(lambda entry: entry.head_start, "Runs", "Head start"),
    "trained_on": Column(lambda entry: entry.trained_on, "Methods", "Pre-training"),
    "supervision": Column(lambda entry: entry.supervision, "Methods", "Taught"),
    "apart": Column(lambda entry: entry.apart),
    "training_scale": Column(lambda entry: entry.training_scale, "Methods", "Images"),
    "licence": Column(lambda entry: entry.licence, "Methods", "Licence of the weights"),
    "parameters": Column(
        lambda entry: entry.parameters, "Methods", "Parameters", lambda entry: _count_text(entry.parameters)
    ),
    "images_per_second": Column(
        lambda entry: entry.images_per_second,
        "Runs",
        "Images/s",
        lambda entry: _speed_text(entry.images_per_second),
    ),
    "faces": Column(lambda entry: entry.faces),
}
"""By name in `leaderboard.csv`, `leaderboard.json` and the CSV of records; all formats have every one."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """A warning that a row carries on every page, said once for all formats.

    Attributes:
        sign: Stands behind the row's method or value.
        meaning: Sentences without markup, for the notes of a page.
        holds: Which rows carry it.
    """

    sign: str
    meaning: str
    holds: Callable[[BoardEntry], bool]


MARKS: dict[str, Mark] = {
    "incomplete": Mark(
        INCOMPLETE,
        "Folds are missing or failed; the row covers what is done and isn't ranked.",
        lambda entry: not entry.complete,
    ),
    "idle": Mark(
        "‡",
        "The error is no smaller than that of always answering 0: nothing was learned that helps.",
        lambda entry: entry.no_better_than_baseline,
    ),
    "overlap": Mark(
        "§",
        "The method was pre-trained on people of the task's data set.",
        lambda entry: bool(entry.overlap),
    ),
    "same_generator": Mark(
        "‖",
        "The method learnt from the generator that made these faces: its place says little about real ones.",
        lambda entry: entry.same_generator,
    ),
    "apart": Mark(
        "△",
        "The method was taught from labels what is asked here, as people's ages where a change of age is. So "
        "it is no measure of representation learning, and has its place, bold or underlined, within a group "
        "of its own.",
        lambda entry: entry.apart,
    ),
    "undertrained": Mark(
        "¶",
        "Still improving at the last epoch, for half or more of the row's heads: more training may help.",
        lambda entry: entry.undertrained,
    ),
    "submitted": Mark(
        "◊",
        "Submitted: someone else's run; its numbers were computed again from its predictions.",
        lambda entry: entry.kind == "submitted",
    ),
    "faces": Mark(
        "▢",
        "Faces were aligned, and in some images none was found: those show the middle of the photograph.",
        lambda entry: re.search(r"fixed box [1-9]", entry.faces) is not None,
    ),
    "mixed_versions": Mark(
        "≠",
        "Rows were measured on different versions of data, split or engine, so none is marked as best.",
        lambda entry: entry.mixed_versions,
    ),
}
"""By name, in the order in which signs stand."""
PARTLY = (
    "Where a sign stands for several records of a method, a number says how many of them it holds for; "
    "without one, all."
)


def marks_text(entries: Sequence[BoardEntry], without: Iterable[str] = ()) -> str:
    """Return the signs of a method's records, each with a space in front.

    Args:
        entries: Records of one method. A mark that only some have has their number behind it: ` ‡ 2/12`.
        without: Names of marks that are shown elsewhere.
    """
    left = [mark for name, mark in MARKS.items() if name not in without]
    counts = [(mark.sign, sum(map(mark.holds, entries))) for mark in left]
    return "".join(
        f" {sign}" if count == len(entries) else f" {sign} {count}/{len(entries)}"
        for sign, count in counts
        if count
    )


def shown_marks(entries: Iterable[BoardEntry], without: Iterable[str] = ()) -> list[Mark]:
    """Return the marks that any of these records carry, but those that are named."""
    listed = list(entries)
    left = [mark for name, mark in MARKS.items() if name not in without]
    return [mark for mark in left if any(map(mark.holds, listed))]


def common_marks(entries: Sequence[BoardEntry]) -> list[str]:
    """Name the marks that all of a method's records carry."""
    return [name for name, mark in MARKS.items() if entries and all(map(mark.holds, entries))]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method against another on one metric of a board, on the same pairs and resamples.

    Attributes:
        reference: The other method.
        difference: This method's metric minus the reference's, with its interval.
        p: Of the sign-flip test by subject, corrected by Holm for all methods compared with this reference.
    """

    reference: str
    difference: PairedDifference
    p: MetricValue


@dataclasses.dataclass(frozen=True)
class MetricCell:
    """One metric of one method on a board.

    Attributes:
        value: The summary that counts for the task.
        interval: Of `value`, by resampling subjects.
        fold_mean: Mean of the folds' metrics.
        fold_interval: Of `fold_mean`.
        rank: 1 for the best of the ranked rows, and so on; values that print the same share a rank, and the
            next value has the next rank. None for a row that isn't ranked or has no value.
        to_best: Against the best ranked method; None for that method itself, or where none is.
        to_comface: Against `comface`; None for itself, or where it has no ranked row.
    """

    value: MetricValue
    interval: Interval
    fold_mean: MetricValue
    fold_interval: Interval
    rank: int | None
    to_best: Comparison | None
    to_comface: Comparison | None

    @property
    def tied(self) -> bool:
        """True if the method is best, or its difference to the best has an interval that holds 0."""
        return self.rank == 1 or (self.to_best is not None and self.to_best.difference.tied is True)


@dataclasses.dataclass(frozen=True)
class BoardRow:
    """One method on a board: its record, its metrics by name, and what the paper publishes for it."""

    entry: BoardEntry
    cells: Mapping[str, MetricCell]
    paper: Mapping[str, PaperValue]

    def number(self, name: str) -> float | None:
        """Return the value of a metric; None where it has none, or the record doesn't have the metric."""
        return self.cells[name].value.value if name in self.cells else None


@dataclasses.dataclass(frozen=True)
class Board:
    """All methods on one task under one protocol.

    Attributes:
        task, protocol: Names.
        metrics: Names of the metrics that any record has, the primary one first.
        rows: In board order.
        best: Best ranked method by metric, of those that don't stand apart; None where none is ranked.
        detectable: Smallest difference between two methods that the task shows with 80 % power, by metric.
        comparable: Whether all rows are of one version of data and split; nothing is ranked otherwise.
        best_apart: Best ranked method by metric, of those that stand apart; empty where there is none.
        pairs: Of the primary metric, each ranked method minus each one after it, in board order, on the same
            pairs and resamples. Only of the `MOST_COMPARED` best, where there are more.
    """

    task: str
    protocol: str
    metrics: tuple[str, ...]
    rows: tuple[BoardRow, ...]
    best: Mapping[str, str | None]
    detectable: Mapping[str, MetricValue]
    comparable: bool
    best_apart: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    pairs: Mapping[tuple[str, str], PairedDifference] = dataclasses.field(default_factory=dict)

    @property
    def family(self) -> str:
        """Name of the family of tasks that it belongs to."""
        return family_of(self.task)

    @property
    def headline(self) -> list[str]:
        """Metrics that stand for the board: the primary one, then those that the paper reports."""
        return [self.metrics[0], *(name for name in paper_metrics() if name in self.metrics[1:])]

    @property
    def entry(self) -> BoardEntry:
        """The first record, for what all records of a task have in common."""
        return self.rows[0].entry

    @property
    def baseline_entry(self) -> BoardEntry:
        """The record whose no-change baseline covers most pairs: a complete one if there is one."""
        return max((row.entry for row in self.rows), key=lambda entry: (entry.complete, entry.n_pairs))

    def baseline(self, name: str) -> float | None:
        """Return a metric of the no-change baseline; None where it has no value."""
        found = self.baseline_entry.baseline.get(name)
        return None if found is None else found.value

    @property
    def command(self) -> str:
        """Command that makes a row."""
        protocol, *overrides = self.entry.protocol.split("+")
        options = "".join(f" -o {override}" for override in overrides)
        return f"comface-bench run --method METHOD --task {self.entry.task} --protocol {protocol}{options}"

    @property
    def in_paper(self) -> bool:
        """True if the supplement reports on the protocol and on tasks of this family."""
        return is_paper_board(self.task, self.protocol)

    @property
    def published(self) -> list[str]:
        """Metrics that the supplement publishes for the task under the protocol, for any method."""
        return published_metrics(self.task, self.protocol)

    @property
    def paper_tables(self) -> list[str]:
        """Letters of the supplement's tables that any row has a value of."""
        return sorted({value.table for row in self.rows for value in row.paper.values()})


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Methods over several tasks under one protocol, by each task's primary metric.

    Attributes:
        scope: `overall`, or the family of the tasks.
        protocol: Name.
        tasks: The tasks, in board order, that the ranking is over.
        standings: By method: ranked ones by mean rank, then those with a task missing.
        friedman: p of Friedman's test, or why there is none.
        critical_difference: Nemenyi's, of mean ranks, or why there is none.
        quantities: Quantity of each task, as `BoardEntry` has it; each quantity counts the same.
        apart: Methods that aren't ranked because they stand apart, each with the tasks on which they do.
    """

    scope: str
    protocol: str
    tasks: tuple[str, ...]
    standings: Mapping[str, Standing]
    friedman: MetricValue
    critical_difference: MetricValue
    quantities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    apart: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def compares(self) -> bool:
        """Whether two methods at least are ranked."""
        return sum(one.mean_rank is not None for one in self.standings.values()) > 1

    @property
    def weighed(self) -> dict[str, int]:
        """Number of tasks of each quantity, in board order; empty where all are of one."""
        sizes = Counter(self.quantities.values())
        return dict(sizes) if len(sizes) > 1 else {}


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """Several tasks of one quantity on one data set under one protocol, as one column: their mean.

    Attributes:
        protocol, quantity: Names.
        boards: The tasks' boards, at least `FEWEST_GROUPED`, of one version and one primary metric.
        cells: Mean of the primary metric by method, of those that are ranked on every task; intervals and
            differences are of the mean, by resampling people once for all tasks. Differences have no p.
    """

    protocol: str
    quantity: str
    boards: tuple[Board, ...]
    cells: Mapping[str, MetricCell]

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self.boards[0].metrics[0]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in board order."""
        return tuple(board.task for board in self.boards)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A task under several settings of one protocol: other sizes, faces cut out or not.

    Attributes:
        task: Name.
        protocol: Name of the protocol without settings.
        boards: One for each setting, in board order; the first is what the others are compared with.
        changes: Of each method under each other setting, by (method, protocol): its primary metric there
            minus that under the first, on the same pairs and resamples. Only where both rows are complete.
    """

    task: str
    protocol: str
    boards: tuple[Board, ...]
    changes: Mapping[tuple[str, str], PairedDifference]

    @property
    def published(self) -> bool:
        """True if the supplement has values of the task under one of the settings, for any method."""
        return any(board.published for board in self.boards)

    @property
    def groups(self) -> list[tuple[str, list[tuple[str, dict[str, BoardRow]]]]]:
        """Methods by group's title, both in board order, each with its rows by protocol."""
        return _methods_by_group((board.protocol, row) for board in self.boards for row in board.rows)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Whether rendered faces order methods as photographs do.

    Attributes:
        photographs, rendered: Tasks of one quantity on one data set: of photographs, and of rendered faces.
        photographs_protocol, rendered_protocol: Settings of one protocol under which they ran.
        methods: Names of the methods that have a complete record on all of these tasks, in board order.
        correlation: Of their orders: by the primary metric, over several tasks by the mean rank.
        unmarked: Those of the methods that neither were taught what a task asks nor learnt from the generator
            that made the rendered faces.
        unmarked_correlation: Of their orders; None where these are all methods, or too few.
    """

    photographs: tuple[str, ...]
    rendered: tuple[str, ...]
    photographs_protocol: str
    rendered_protocol: str
    methods: tuple[str, ...]
    correlation: RankCorrelation
    unmarked: tuple[str, ...] = ()
    unmarked_correlation: RankCorrelation | None = None

    @property
    def parts(self) -> list[tuple[tuple[str, ...], RankCorrelation]]:
        """All methods, then those without a mark where that is another thing, each with the correlation."""
        rest = self.unmarked_correlation
        return [(self.methods, self.correlation), *([(self.unmarked, rest)] if rest is not None else [])]


@dataclasses.dataclass(frozen=True)
class Section:
    """Boards of one protocol, and the ranking over them.

    Attributes:
        protocol: Name.
        boards: In board order.
        ranking: Over their tasks; None where fewer than two tasks, or methods, can be ranked.
    """

    protocol: str
    boards: tuple[Board, ...]
    ranking: Ranking | None

    @property
    def groups(self) -> list[tuple[str, list[tuple[str, dict[str, BoardRow]]]]]:
        """Methods by group's title, both in board order, each with its rows by task."""
        return _methods_by_group((board.task, row) for board in self.boards for row in board.rows)

    @property
    def methods(self) -> dict[str, list[BoardEntry]]:
        """Records by method, in board order."""
        return {
            method: [row.entry for row in rows.values()]
            for _, methods in self.groups
            for method, rows in methods
        }


@dataclasses.dataclass(frozen=True)
class HeadStart:
    """A method on a task with one of its head starts, as measured and as published.

    Attributes:
        entry: A record of the method, for what its head starts have in common.
        label: The head start, with the letter of the supplement's setting in front where it has one.
        row: The row as measured; None where there is only the paper's.
        paper: The published values by metric.
    """

    entry: BoardEntry
    label: str
    row: BoardRow | None
    paper: Mapping[str, PaperValue]


@dataclasses.dataclass(frozen=True)
class Document:
    """All boards, in board order, and what is computed over several of them.

    Attributes:
        boards: The boards.
        rankings: Each family's, then the overall ones.
        settings: Tasks that ran under several settings of a protocol, in board order.
        agreements: Orders of methods on photographs against those on rendered faces.
        groups: Tasks that pages can show as one column, such as all action units of a data set.
    """

    boards: tuple[Board, ...]
    rankings: tuple[Ranking, ...]
    settings: tuple[Settings, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    groups: tuple[TaskGroup, ...] = ()

    @property
    def families(self) -> list[str]:
        """Names of the families of tasks, in board order."""
        return list(dict.fromkeys(board.family for board in self.boards))

    def settings_of(self, family: str) -> list[Settings]:
        """Return the settings of a family's tasks."""
        return [one for one in self.settings if family_of(one.task) == family]

    def head_starts(self, board: Board) -> list[HeadStart]:
        """Return the rows of a board whose method was run or published with several head starts, all of them.

        Their records are on several boards: the head start is part of the protocol's name.
        """
        base = protocol_base(board.protocol)
        boards = [
            one for one in self.boards if one.task == board.task and protocol_base(one.protocol) == base
        ]
        rows = [row for one in boards for row in one.rows]
        return [one for row in board.rows for one in _head_starts(row.entry, rows)]

    def sections(self, scope: str = OVERALL) -> list[Section]:
        """Sort boards into sections, one a protocol, in board order.

        Args:
            scope: `overall`, or a family whose boards and rankings are wanted.
        """
        boards = [board for board in self.boards if scope == OVERALL or board.family == scope]
        rankings = {ranking.protocol: ranking for ranking in self.rankings if ranking.scope == scope}
        return [
            Section(name, tuple(board for board in boards if board.protocol == name), rankings.get(name))
            for name in sorted({board.protocol for board in boards}, key=protocol_order)
        ]


def _head_starts(entry: BoardEntry, rows: Sequence[BoardRow]) -> list[HeadStart]:
    """Return what was measured and published with each head start of a method; none for a single one.

    Args:
        entry: A record of the method.
        rows: All rows of its task and protocol, with any head start.
    """
    base = protocol_base(entry.protocol)
    own = {
        row.entry.head_start or default_head_start(row.entry.protocol, entry.method): row
        for row in rows
        if row.entry.method == entry.method
    }
    starts = list(dict.fromkeys(start for _, start in HEAD_STARTS))
    published = {
        start: paper_values(entry.task, base, entry.method, entry.topology, start) for start in starts
    }
    found = [start for start in starts if start in own or published[start]]
    labels = {start: f"{HEAD_STARTS.get((base, start), '')} {start}".strip() for start in found}
    made = [HeadStart(entry, labels[start], own.get(start), published[start]) for start in found]
    return made if len(made) > 1 else []


def by_group(entries: Iterable[BoardEntry]) -> list[tuple[str, list[BoardEntry]]]:
    """Return records by group of methods, groups in board order and records as they come."""
    groups: dict[str, list[BoardEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    return [(group, groups[group]) for group in sorted(groups, key=group_order)]


def _methods_by_group(
    placed: Iterable[tuple[str, BoardRow]],
) -> list[tuple[str, list[tuple[str, dict[str, BoardRow]]]]]:
    """Sort rows by group's title and method, both in board order.

    Args:
        placed: Each row with what tells it from others of its method, such as its task.
    """
    entries: dict[str, BoardEntry] = {}
    rows: dict[str, dict[str, BoardRow]] = {}
    for place, row in placed:
        name = row.entry.method
        rows.setdefault(name, {})[place] = row
        # A method whose records name different groups is listed once, in the first of them.
        entries[name] = min(entries.get(name, row.entry), row.entry, key=lambda entry: entry.order)
    grouped = by_group(sorted(entries.values(), key=lambda entry: entry.order))
    return [
        (
            # A method may stand apart on one task, and here by its own group.
            group_title(
                group,
                (
                    row.entry
                    for entry in found
                    for row in rows[entry.method].values()
                    if row.entry.group == group
                ),
            ),
            [(entry.method, rows[entry.method]) for entry in found],
        )
        for group, found in grouped
    ]


def set_apart(quantity: str) -> str:
    """Name the group of methods that were taught the quantity which a task asks."""
    return f"Supervised by {quantity.title()}"


def group_title(group: str, entries: Iterable[BoardEntry]) -> str:
    """Return a group's heading, which says of methods that stand apart why they do."""
    if not any(entry.apart for entry in entries):
        return group
    return f"{group}: {APART}"


def rows_by_group(rows: Sequence[BoardRow]) -> list[tuple[str, list[BoardRow]]]:
    """Return rows of a board by title of their group, groups in board order and rows as they come."""
    return [
        (group_title(group, entries), [row for row in rows if row.entry.group == group])
        for group, entries in by_group(row.entry for row in rows)
    ]


def _supervision(method: MethodInfo) -> tuple[str, ...]:
    """Return what a method was taught; of records without that fact, what the card's group tells of it."""
    stated = tuple(map(str, method.card.get("supervision", ())))
    if method.card.get("group") == set_apart("age") and "age" not in stated:
        return (*stated, "age")
    return stated


def _input_size(record: Record, image_size: int) -> int:
    """Return the size that the backbone saw: as the run measured it, else by the card."""
    measured = {unit.details.get("input_size") for unit in record.units} - {None}
    # Anybody may have written them.
    if len(measured) == 1 and type(size := measured.pop()) is int:
        return size
    declared = record.method.card.get("preprocess")
    if not isinstance(declared, dict):
        return image_size
    multiple = int(declared.get("multiple") or 1)
    return int(declared.get("size") or max(1, round(image_size / multiple)) * multiple) if image_size else 0


def _alignment(stated: Any) -> str:
    """Name the alignment of a protocol's values, which have it only where faces are cut out."""
    return str(stated.get("name", "")) if isinstance(stated, dict) else ""


def _backbone(method: MethodInfo) -> str:
    return backbone_of(str(method.options.get("backbone", "")), str(method.card.get("backbone", "")))


def backbone_of(chosen: str, declared: str) -> str:
    """Return the backbone of a method as tables print it.

    Args:
        chosen: Its option `backbone`; empty where it has none.
        declared: What its card says.
    """
    return _TOPOLOGIES.get(chosen, chosen) or declared


def topology_of(backbone: str) -> str:
    """Return a backbone without what a card says of variants."""
    return re.split(r"[,(]", backbone, maxsplit=1)[0].strip()


def _count_text(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count:,}"


def _speed_text(speed: float | None) -> str:
    if speed is None:
        return DASH
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"


def _images_per_second(record: Record) -> float | None:
    """Return images per second, mean over the units that measured it."""
    reported = [unit.details.get("images_per_second") for unit in record.units]
    speeds = [float(speed) for speed in reported if isinstance(speed, int | float) and speed > 0]
    return fmean(speeds) if speeds else None


_FACES = {"faces_found": "found", "faces_second_pass": "second pass", "faces_fixed_box": "fixed box"}
"""Details of units on aligned faces, and how boards call them."""


def _faces(record: Record) -> str:
    """Return how the faces of the data set were come by; several texts where units differ."""
    reported = [
        ", ".join(f"{name} {unit.details[key]}" for key, name in _FACES.items() if key in unit.details)
        for unit in record.units
    ]
    return " or ".join(dict.fromkeys(filter(None, reported)))
