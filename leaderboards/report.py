"""The report: one file with all that stands behind some boards, to be attached to a paper.

Its numbers are those of the document that all pages are written from. Tasks, protocols and methods may be
chosen; places, differences and tests stay those of the whole board, so that leaving rows out betters none.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import importlib
import json
import operator
import os
from typing import TYPE_CHECKING, Any

from comface_bench.core.display import with_unit
from comface_bench.core.errors import MissingExtraError, UsageError
from comface_bench.core.names import choose_names
from comface_bench.leaderboards.document import backbone_of, marks_text, rows_by_group, shown_marks
from comface_bench.leaderboards.formatting import (
    DASH,
    brief,
    compact,
    format_value,
    heading,
    interval_text,
    p_text,
    signed_text,
    unit_of,
)
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.paper import HEAD_STARTS, LINEAR_EPOCHS, SETTINGS, published_settings
from comface_bench.leaderboards.report_figure import FAR, draw_board, draw_ranking, require_matplotlib
from comface_bench.leaderboards.site.templates import render
from comface_bench.results.store import ResultStore
from comface_bench.stats.bootstrap import LEVEL, RESAMPLES
from comface_bench.stats.metrics import METRICS
from comface_bench.stats.significance import DRAWS, EXACT_UP_TO, POWER, SIGNIFICANCE
from comface_bench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from comface_bench.leaderboards.document import Board, BoardRow, Document, Ranking
    from comface_bench.results.schema import Record
    from comface_bench.stats.ranks import Standing

    Facts = Iterable[tuple[str, str, str]]
    """Name, text and origin of each."""

TITLE = "Change between two images of one person, estimated"
OURS = "our choice"
_SAYS_WHAT_IT_IS = ("name", "trains", "engine epoch", "augmentation · name", "split kind")
"""Values of a protocol that set nothing."""
_MANY = 8
"""More names than these say less than how many records there are."""
_PANGO = (
    "WeasyPrint draws text by Pango, a library of the system. Debian, Ubuntu: "
    "apt-get install libpango-1.0-0 libpangoft2-1.0-0 fonts-dejavu-core; macOS: brew install pango. "
    "Or write HTML and print it from a browser: --out report.html"
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A board, and those of its rows that the report shows."""

    board: Board
    rows: tuple[BoardRow, ...]

    @property
    def left_out(self) -> int:
        """Number of the board's rows that the report doesn't show."""
        return len(self.board.rows) - len(self.rows)


@dataclasses.dataclass(frozen=True)
class Value:
    """What some records say.

    Attributes:
        text: It.
        holders: Which records say so; empty if all of them do.
        origin: Of a protocol's value: the supplement's table, or our choice. Empty for other facts.
    """

    text: str
    holders: str
    origin: str


@dataclasses.dataclass(frozen=True)
class Fact:
    """A fact of several records: one value where they agree, else each value with who has it."""

    name: str
    values: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: Of the report.
        command: The line that makes it.
        parts: Boards, in board order.
        rankings: Those whose tasks are all among the boards'.
        records: Of the rows that are shown, in that order.
        images: By task, how many images its test pairs are of; without tasks whose pairs don't tell.
        figures: Whether there are figures.
    """

    title: str
    command: str
    parts: tuple[Part, ...]
    rankings: tuple[Ranking, ...]
    records: tuple[Record, ...]
    images: Mapping[str, int]
    figures: bool


def make_report(
    results: Path,
    command: str,
    *,
    tasks: Sequence[str] = (),
    protocols: Sequence[str] = (),
    methods: Sequence[str] = (),
    title: str = TITLE,
    figures: bool = True,
) -> Report:
    """Choose what a report shows.

    Args:
        results: Folder of results.
        command: The line that makes the report.
        tasks: Names, or patterns such as `synth-*`; none stands for all.
        protocols: Likewise.
        methods: Likewise.
        title: Of the report.
        figures: Whether to draw figures, which needs matplotlib.

    Raises:
        MissingExtraError: matplotlib isn't installed.
        ResultError: A file isn't a record, or predictions aren't the record's.
        UnknownNameError: No record has such a name, or a plugin that isn't loaded declares a metric.
        UsageError: There is no record at all, or none of all that was named.
    """
    if figures:
        require_matplotlib()
    store = ResultStore(results)
    records = {_place(record): record for record in store.records()}
    if not records:
        raise UsageError(f"no results in {results}", "Make some: comface-bench run --method M --task T")
    named = {"task": tasks, "protocol": protocols, "method": methods}
    chosen = [
        choose_names(patterns or None, (place[number] for place in records), kind)
        for number, (kind, patterns) in enumerate(named.items())
    ]
    wanted = {place for place in records if all(map(operator.contains, chosen, place))}
    if not wanted:
        raise UsageError(
            f"no record in {results} is of the task, the protocol and the method that were named",
            f"See what there is: comface-bench results export --results {results}",
        )
    document = read_document(results)
    # A record that came in meanwhile is in the document alone; it counts as one that isn't shown.
    parts = tuple(part for board in document.boards if (part := _part(board, wanted)).rows)
    shown = tuple(records[_row_place(row)] for part in parts for row in part.rows)
    return Report(title, command, parts, _rankings(document, parts), shown, _images(store, shown), figures)


def report_html(report: Report) -> bytes:
    """Write a report as one HTML page that needs no other file; the same bytes for the same report.

    Raises:
        MissingExtraError: The report has figures, and matplotlib isn't installed.
    """
    return render(
        "report.html.j2",
        report=report,
        boards=[
            (part, rows_by_group(part.rows), _figure(report, draw_board, part.board, part.rows))
            for part in report.parts
        ],
        rankings=[
            (ranking, standings, _figure(report, draw_ranking, standings))
            for ranking in report.rankings
            if (standings := _standings(ranking, report.records))
        ],
        methods=_by_name(report.records, lambda record: record.method.name, _method_facts),
        tasks=_by_name(
            report.records, lambda record: record.task.name, lambda record: _task_facts(record, report.images)
        ),
        protocols=_by_name(report.records, lambda record: record.protocol.name, _protocol_facts),
        environment=agree(
            report.records, lambda record: ((name, text, "") for name, text in flatten(record.environment))
        ),
        commands=_commands(report.records),
        gaps=[record for record in report.records if not record.summary.complete],
        missing_folds=_missing_folds,
        seconds=lambda record: sum(unit.seconds for unit in record.units),
        reasons=_reasons,
        **_SHARED,
    )


_SHARED: Mapping[str, Any] = {
    "VERSION": __version__,
    "LEVEL": f"{100 * LEVEL:g}",
    "RESAMPLES": f"{RESAMPLES:,}",
    "DRAWS": f"{DRAWS:,}",
    "EXACT_UP_TO": EXACT_UP_TO,
    "POWER": f"{100 * POWER:g}",
    "SIGNIFICANCE": f"{100 * SIGNIFICANCE:g}",
    "SETTINGS": SETTINGS,
    "OURS": OURS,
    "FAR": f"{FAR:g}",
    "METRICS": METRICS,
    "DASH": DASH,
    "brief": brief,
    "compact": compact,
    "format_value": format_value,
    "heading": heading,
    "interval_text": interval_text,
    "marks_text": marks_text,
    "p_text": p_text,
    "shown_marks": shown_marks,
    "signed_text": signed_text,
    "unit_of": unit_of,
}


def report_pdf(page: bytes) -> bytes:
    """Print the page that `report_html` wrote, on A4.

    The same bytes for the same page, fonts and releases of WeasyPrint and Pango. Nothing is fetched.

    Args:
        page: As `report_html` returns it.

    Raises:
        MissingExtraError: WeasyPrint isn't installed, or doesn't find Pango.
    """
    weasyprint = _load_weasyprint()
    # A page holds nothing but data: URLs; a fetcher that knows no others makes sure of it.
    fetcher = importlib.import_module("weasyprint.urls").URLFetcher(allowed_protocols=["data"])
    document = weasyprint.HTML(string=page.decode(), url_fetcher=fetcher)
    with _dated_fonts():
        printed: bytes = document.write_pdf()
    return printed


@contextlib.contextmanager
def _dated_fonts() -> Iterator[None]:
    """Let fontTools, which cuts fonts down where HarfBuzz can't, date them by the user's word or by 1970."""
    before = os.environ.get(_EPOCH)
    os.environ.setdefault(_EPOCH, "0")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_EPOCH]


_EPOCH = "SOURCE_DATE_EPOCH"


def require_weasyprint() -> None:
    """Check that PDF can be written.

    Raises:
        MissingExtraError: WeasyPrint isn't installed, or doesn't find Pango.
    """
    _load_weasyprint()


def _load_weasyprint() -> Any:
    try:
        return importlib.import_module("weasyprint")
    except ImportError as error:
        raise MissingExtraError(
            "a report as PDF needs WeasyPrint",
            "pip install 'comface-bench[pdf]', or write HTML and print it from a browser: --out report.html",
        ) from error
    except OSError as error:
        raise MissingExtraError(
            f"WeasyPrint can't be loaded: {str(error).splitlines()[0]}", _PANGO
        ) from error


# What is shown.


def _place(record: Record) -> tuple[str, str, str]:
    return record.task.name, record.protocol.name, record.method.name


def _row_place(row: BoardRow) -> tuple[str, str, str]:
    return row.entry.task, row.entry.protocol, row.entry.method


def _part(board: Board, chosen: Collection[tuple[str, str, str]]) -> Part:
    return Part(board, tuple(row for row in board.rows if _row_place(row) in chosen))


def _rankings(document: Document, parts: Sequence[Part]) -> tuple[Ranking, ...]:
    """Return the rankings over tasks that are all shown."""
    tasks: dict[str, set[str]] = {}
    for part in parts:
        tasks.setdefault(part.board.protocol, set()).add(part.board.task)
    return tuple(one for one in document.rankings if set(one.tasks) <= tasks.get(one.protocol, set()))


def _standings(ranking: Ranking, records: Sequence[Record]) -> dict[str, Standing]:
    """Return the standings of the methods that are shown."""
    shown = {record.method.name for record in records}
    return {
        name: one for name, one in ranking.standings.items() if name in shown and one.mean_rank is not None
    }


def _images(store: ResultStore, records: Sequence[Record]) -> dict[str, int]:
    """Count the images that are in test pairs, by task: a pair's name is its subject and two numbers."""
    largest: dict[str, Record] = {}
    for record in records:
        before = largest.get(record.task.name)
        if record.units and (before is None or record.summary.n_pairs > before.summary.n_pairs):
            largest[record.task.name] = record
    counted = {}
    for task, record in largest.items():
        pairs = [pair.split("-") for columns in store.load_columns(record).values() for pair in columns.pairs]
        if all(len(pair) == 3 and all(map(str.isdecimal, pair)) for pair in pairs):
            counted[task] = len({(subject, image) for subject, *both in pairs for image in both})
    return counted


def _figure(report: Report, draw: Callable[..., bytes | None], *shown: Any) -> str:
    """Return the address of a figure that holds the figure itself; empty for none."""
    drawn = draw(*shown) if report.figures else None
    # As an image of its own, nothing in it can run, and its ids are no other figure's.
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}" if drawn else ""


# What records say, and where they don't say the same.


def agree(records: Sequence[Record], facts: Callable[[Record], Facts]) -> list[Fact]:
    """Put facts of several records together: one value where all agree, else each value with its holders.

    Args:
        records: Any, at least one.
        facts: Names, texts and origins of one record's facts.
    """
    holders: dict[str, dict[str, list[Record]]] = {}
    origins: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        for name, text, origin in facts(record):
            holders.setdefault(name, {}).setdefault(text, []).append(record)
            origins.setdefault((name, text), {})[origin] = None
    return [
        Fact(
            name,
            tuple(
                Value(text, _holders(own, records), "; ".join(origins[name, text]))
                for text, own in values.items()
            ),
        )
        for name, values in holders.items()
    ]


_FACETS = ((1,), (0,), (2,), (0, 1), (1, 2), (0, 2))
"""Protocol, task, method, and two of them together: by what some records differ from all others."""


def _holders(own: Sequence[Record], everyone: Sequence[Record]) -> str:
    """Say which records have a value, in words that fit no other one; empty for all of them."""
    if len(own) == len(everyone):
        return ""
    mine = {_place(record) for record in own}
    others = {place for record in everyone if (place := _place(record)) not in mine}
    for facet in _FACETS:
        names = list(dict.fromkeys(_part_of(_place(record), facet) for record in own))
        if len(names) <= _MANY and not {_part_of(place, facet) for place in others} & set(names):
            return "; ".join(names)
    return f"{len(own)} of {len(everyone)} records"


def _part_of(place: tuple[str, str, str], facet: tuple[int, ...]) -> str:
    return ", ".join(place[number] for number in facet)


def _by_name(
    records: Sequence[Record], name: Callable[[Record], str], facts: Callable[[Record], Facts]
) -> dict[str, list[Fact]]:
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(name(record), []).append(record)
    return {key: agree(own, facts) for key, own in grouped.items()}


def flatten(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Walk through free-form facts, one text a leaf."""
    for key, value in facts.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{name} · ")
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return brief(value)
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(facts: Iterable[tuple[str, Any]]) -> Facts:
    """Leave out what isn't known."""
    return ((name, _text(value), "") for name, value in facts if value not in ("", None, [], {}))


def _method_facts(record: Record) -> Facts:
    method, about = record.method, record.method.about
    card = method.card
    preprocess = card.get("preprocess")
    files = {unit.details.get("weights_sha256") for unit in record.units} - {None}
    return _plain(
        [
            ("What it is", about.summary),
            ("Group", card.get("group")),
            ("Backbone", backbone_of(str(method.options.get("backbone", "")), str(card.get("backbone", "")))),
            ("Parameters", f"{method.parameters:,}"),
            (
                "Feature",
                f"{method.feature_dim:,} numbers: {card.get('feature') or 'as its library gives it'}",
            ),
            ("Input", "; ".join(map(" ".join, flatten(preprocess))) if isinstance(preprocess, dict) else ""),
            ("Options", "; ".join(map(" ".join, flatten(method.options)))),
            ("Trained on", card.get("trained_on")),
            ("Images seen", about.training_scale),
            ("Kind of data", about.training_source),
            ("Taught", card.get("supervision")),
            ("Labels of", card.get("labels_of")),
            ("Pair head of its own", "yes" if card.get("pretrained_head") else ""),
            ("Paper", about.paper),
            ("Source", about.source),
            ("Licence", about.licence),
            ("Weights", "drawn from the seed" if card.get("drawn") else ""),
            ("Weights, digest", method.checkpoint_digest),
            ("Weights file, SHA-256", sorted(map(str, files))),
            ("Card, digest", method.card_digest),
        ]
    )


def _task_facts(record: Record, images: Mapping[str, int]) -> Facts:
    task, summary = record.task, record.summary
    parts = [(one.train, one.validation, one.test) for one in task.fold_subjects]
    people = {number for fold in parts for part in fold for number in part.split(",")}
    by_fold = [" / ".join(str(len(part.split(","))) for part in fold) for fold in parts]
    tested = {unit.fold: f"{unit.n_pairs:,}" for unit in record.units}
    said = ("name", "data", "target", "unit", "metrics", "aggregate", "splits")
    return _plain(
        [
            ("What is estimated", task.about.summary),
            ("Quantity", with_unit(task.target, task.unit, ", in ")),
            ("Data set", task.data),
            ("Licence of the data", task.about.licence),
            ("Source", task.about.source),
            ("People in the folds", f"{len(people):,}" if people else ""),
            ("People tested", f"{summary.n_subjects:,}"),
            ("Images in test pairs", f"{images[task.name]:,}" if task.name in images else ""),
            ("Test pairs", f"{summary.n_pairs:,}"),
            ("Test pairs by fold", [tested[fold] for fold in sorted(tested)]),
            ("Split", f"{task.split}, {task.folds} folds"),
            ("People who train / validate / test, by fold", "; ".join(by_fold)),
            ("Metrics, the primary one first", task.metrics),
            ("Folds are taken together by", task.aggregate),
            *((name, text) for name, text in flatten({k: v for k, v in task.card.items() if k not in said})),
            ("Data, digest", task.manifest_digest),
            ("Split, digest", task.split_digest),
            ("Card, digest", task.card_digest),
        ]
    )


def _protocol_facts(record: Record) -> Facts:
    values = flatten(record.protocol.values)
    return [
        *((name, text, _origin(record, name, text)) for name, text in values),
        *((f"as run: {name.replace('_', ' ')}", text, "") for name, text in _as_run(record)),
        ("digest of all values", record.protocol.digest, ""),
    ]


def _as_run(record: Record) -> Iterator[tuple[str, str]]:
    """Say what values that follow data and machine were, over the record's units."""
    for name in ("pairs_per_epoch", "precision", "device"):
        if found := {unit.details[name]: None for unit in record.units if name in unit.details}:
            yield name, ", ".join(map(_text, found))


def _origin(record: Record, name: str, text: str) -> str:
    """Say of a protocol's value whether the supplement publishes it for the task's quantity."""
    protocol, quantity = record.protocol.name.partition("+")[0], str(record.task.card.get("family"))
    if name in _SAYS_WHAT_IT_IS:
        return ""
    if name == "head start" and (protocol, text) in HEAD_STARTS:
        return f"{OURS}: setting {HEAD_STARTS[protocol, text]} of the supplement"
    # Linear evaluation is reported for expression alone; Tables D and E are of fine-tuning.
    reported = protocol == "finetune" or (protocol == "linear" and quantity == "expression")
    published = dict(flatten(published_settings(quantity)))
    if protocol == "linear":
        published["epochs"] = str(LINEAR_EPOCHS)
    if not (protocol in ("linear", "finetune") and quantity in SETTINGS and name in published):
        return OURS
    table = f"Table {SETTINGS[quantity]}"
    if not reported:
        return (
            f"{OURS}, as in {table if name != 'epochs' else 'Table C'}" if text == published[name] else OURS
        )
    return table if text == published[name] else f"changed; {table} has {published[name]}"


def _commands(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return the lines that made the records, each with the dates on which it did."""
    made: dict[str, list[str]] = {}
    for record in records:
        made.setdefault(record.provenance.command or "", []).append(record.provenance.created)
    return [(line, " to ".join(dict.fromkeys((min(dates), max(dates))))) for line, dates in made.items()]


def _missing_folds(record: Record) -> list[int]:
    done = set(record.summary.folds_done)
    return [fold for fold in range(record.task.folds) if fold not in done]


def _reasons(part: Part) -> list[tuple[str, str]]:
    """Return the metrics without a value, each with the reasons and who has them."""
    return list(
        dict.fromkeys(
            (f"{METRICS[name].title} of {row.entry.method}", value.reason)
            for row in part.rows
            for name, value in row.entry.metrics.items()
            if value.reason
        )
    )
