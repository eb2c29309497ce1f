"""Two methods side by side: their paired difference on each board that has both, as pages compute it.

Value, interval and corrected p are those of the pages, where these have the pair: resamples and swaps are of
the whole board, and the correction is for all ranked methods that are compared with the second one. Beside it
stands the p of this one comparison, for who had chosen it before looking.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import choose_names, did_you_mean
from comface_bench.leaderboards.document import shown_marks
from comface_bench.leaderboards.formatting import (
    format_value,
    interval_text,
    p_text,
    signed_text,
    unit_of,
)
from comface_bench.leaderboards.pages import read_rows
from comface_bench.leaderboards.paper import natural_order, protocol_order
from comface_bench.leaderboards.statistics import corrected_tests
from comface_bench.results.store import ResultStore, file_stem
from comface_bench.stats.bootstrap import NOT_RESAMPLED, Interval, Resamples, score
from comface_bench.stats.metrics import METRICS, MetricValue
from comface_bench.stats.significance import (
    OTHER_PAIRS,
    SIGNIFICANCE,
    PairedDifference,
    Swaps,
    difference,
    swap_test,
)
from comface_bench.stats.weighted import is_resampled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from comface_bench.leaderboards.document import BoardEntry
    from comface_bench.leaderboards.statistics import Arranged
    from comface_bench.results.schema import Record

    Place = tuple[str, str]
    """A task and a protocol."""


@dataclasses.dataclass(frozen=True)
class MethodComparison:
    """Two methods on one task under one protocol, by one metric.

    Attributes:
        task, protocol, metric: Names.
        a, b: Names of the methods.
        unit: Unit in which the metric is printed; empty for none.
        values: The metric of each.
        difference: That of `a` minus that of `b`, with its 95 % interval, on the same resamples of people.
        p: That they differ so by chance, two-sided, of this one comparison.
        corrected: The same as pages have it: corrected by Holm for all ranked methods compared with `b`.
        family: How many those are.
        pairs, people: Test pairs and people of `a`.
        notes: Sentences on what their places say little about, as pages mark them.
    """

    task: str
    protocol: str
    metric: str
    a: str
    b: str
    unit: str
    values: tuple[MetricValue, MetricValue]
    difference: PairedDifference
    p: MetricValue
    corrected: MetricValue
    family: int
    pairs: int
    people: int
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> str | None:
        """The method whose value is better, where the interval doesn't hold 0; else None."""
        if self.difference.value is None or self.difference.tied is not False:
            return None
        a_is_better = (self.difference.value > 0) == METRICS[self.metric].higher_is_better
        return self.a if a_is_better else self.b

    @property
    def sentence(self) -> str:
        """What the numbers say."""
        board, title = f"{self.task} under {self.protocol}", METRICS[self.metric].title
        where = f"on {board}"
        found, interval = self.difference, self.difference.interval
        if found.value is None:
            return f"{self.a} and {self.b} aren't compared {where}: {found.reason}"
        way = "higher" if found.value > 0 else "lower"
        size = f"{self.a}'s {title} is {self._size(found.value)} {way} than {self.b}'s"
        if found.tied is None or interval.low is None or interval.high is None:
            return f"On {board} {size}; there is no interval: {interval.reason}"
        if self.better is None:
            ends = interval_text(self.metric, interval, signed=True)
            return (
                f"{self.a} and {self.b} can't be told apart {where}: {size}, and the interval {ends} holds 0"
            )
        other = self.b if self.better == self.a else self.a
        way = "higher" if METRICS[self.metric].higher_is_better else "lower"
        low, high = sorted((abs(interval.low), abs(interval.high)))
        ends = f"{format_value(self.metric, low)} to {self._size(high)}"
        return (
            f"{self.better} is better than {other} {where}: its {title} is {self._size(found.value)} {way},"
            f" 95 % interval {ends}{self._chance}"
        )

    @property
    def _chance(self) -> str:
        if self.p.value is None:
            return ""
        said, corrected = f"; p {_equals(self.p)}", self.corrected.value
        if corrected is not None and self.family > 1:
            said += f", and {p_text(self.corrected)} corrected for {self.family} comparisons"
        if self.p.value >= SIGNIFICANCE:
            return f"{said}: it may be chance"
        if corrected is not None and corrected >= SIGNIFICANCE:
            return f"{said}: of a pair picked after looking it may be chance"
        return said

    def _size(self, value: float) -> str:
        text = format_value(self.metric, abs(value))
        return f"{text} {self.unit}" if self.unit else text

    @property
    def cells(self) -> dict[str, str]:
        """The comparison as a row of a table, by heading."""
        return {
            "task": self.task,
            "protocol": self.protocol,
            "metric": METRICS[self.metric].title,
            "unit": self.unit,
            self.a: format_value(self.metric, self.values[0].value),
            self.b: format_value(self.metric, self.values[1].value),
            "difference": signed_text(self.metric, self.difference.value),
            "95 % interval": interval_text(self.metric, self.difference.interval, signed=True),
            "p": p_text(self.p),
            "p, corrected": p_text(self.corrected),
        }

    @property
    def facts(self) -> dict[str, str | float | int | None]:
        """All numbers in the metric's own unit, with the reasons where there are none; for programs."""
        found = self.difference
        return {
            "task": self.task,
            "protocol": self.protocol,
            "metric": self.metric,
            "a": self.a,
            "b": self.b,
            "unit": self.unit if METRICS[self.metric].has_unit else "",
            "value_a": self.values[0].value,
            "value_b": self.values[1].value,
            "difference": found.value,
            "low": found.interval.low,
            "high": found.interval.high,
            "p": self.p.value,
            "p_corrected": self.corrected.value,
            "comparisons": self.family,
            "better": self.better,
            "pairs": self.pairs,
            "people": self.people,
            "reason": found.reason or found.interval.reason or "",
            "reason_p": self.p.reason or "",
            "reason_p_corrected": self.corrected.reason or "",
        }


def compare_methods(
    results: Path | str,
    a: str,
    b: str,
    *,
    task: str | None = None,
    protocol: str | None = None,
    metric: str | None = None,
    records: Iterable[Record] | None = None,
) -> list[MethodComparison]:
    """Compare two methods on each task and protocol that both have a record of.

    Args:
        results: Folder of results.
        a: Name of a method.
        b: Name of another; differences are those of `a` minus those of `b`.
        task: Names and patterns with commas between them; all by default.
        protocol: Likewise.
        metric: Name of a metric; each task's first by default.
        records: Those that count, if not all of the folder.

    Returns:
        One for each task and protocol, in board order. What can't be compared says why.

    Raises:
        UnknownNameError: There is no record of a method, or no such task, protocol or metric among theirs.
        UsageError: They have no task and protocol in common, or are one.
        ResultError: A file isn't a record, or predictions aren't the record's.
    """
    if a == b:
        raise UsageError(f"{a} is compared with itself", "Name two methods.")
    store = ResultStore(Path(results))
    there = list(records) if records is not None else _read_named(store, (a, b))
    placed = {
        name: [(one.task.name, one.protocol.name) for one in there if one.method.name == name]
        for name in (a, b)
    }
    for name, places in placed.items():
        if not places:
            known = there if records is not None else list(store.records())
            raise _no_record(name, {record.method.name for record in known}, store.root)
    made = []
    for place in _choose_boards(placed, (a, b), task, protocol):
        entries, arranged, name = read_board(store, place, metric)
        made.append(compare_on_board(entries, arranged, a, b, name))
    return made


def compare_on_board(
    entries: Sequence[BoardEntry], arranged: Mapping[str, Arranged], a: str, b: str, metric: str
) -> MethodComparison:
    """Compare two methods of one task and protocol.

    Args:
        entries: All records of it, those of both methods among them.
        arranged: Predictions by method.
        a: Name of a method.
        b: Name of another.
        metric: Name of a metric that all records have.
    """
    by_name = {entry.method: entry for entry in entries}
    ours, theirs = by_name[a], by_name[b]
    values = (ours.metrics[metric], theirs.metrics[metric])
    made = MethodComparison(
        task=ours.task,
        protocol=ours.protocol,
        metric=metric,
        a=a,
        b=b,
        unit=unit_of(metric, ours.unit),
        values=values,
        difference=PairedDifference(None, Interval(None, None, None, "")),
        p=MetricValue(None, "not compared"),
        corrected=MetricValue(None, "not compared"),
        family=0,
        pairs=ours.n_pairs,
        people=ours.n_subjects,
        notes=tuple(
            f"{entry.method}: {mark.meaning}" for entry in (ours, theirs) for mark in shown_marks([entry])
        ),
    )
    if reason := _apart(ours, theirs, arranged):
        nothing = Interval(None, None, None, reason)
        return dataclasses.replace(made, difference=PairedDifference(None, nothing, reason))
    same = [entry for entry in entries if entry.version == ours.version and entry.method in arranged]
    people = {number for entry in same for number in arranged[entry.method].counted.subjects}
    resamples = Resamples.draw(people, ours.data)
    known = {name: {metric: value} for name, value in zip((a, b), values, strict=True)}
    given = {name: arranged[name].counted for name in (a, b)}
    scores = score(given, [metric], resamples, known)[metric]
    found = difference(scores, a, b)
    if found.reason == OTHER_PAIRS:
        told = f"{OTHER_PAIRS}: {_extent(ours)} of {a}, {_extent(theirs)} of {b}"
        found = dataclasses.replace(found, reason=told)
        return dataclasses.replace(made, difference=found)
    if not is_resampled(metric):
        missing = MetricValue(None, NOT_RESAMPLED)
        return dataclasses.replace(made, difference=found, p=missing, corrected=missing)
    p = swap_test(given[a], given[b], [metric], Swaps.draw(given[b].subjects, ours.data))[metric]
    corrected, family = _correct(entries, arranged, ours, theirs, metric)
    return dataclasses.replace(made, difference=found, p=p, corrected=corrected, family=family)


def read_board(
    store: ResultStore, place: Place, metric: str | None = None
) -> tuple[list[BoardEntry], dict[str, Arranged], str]:
    """Read all records of one task and protocol, and find the metric that is asked for.

    Args:
        store: The folder of results.
        place: The task and the protocol.
        metric: Its name; by default the board's first one, that of its first row.

    Returns:
        The records and predictions, as `read_rows` returns them; the metric's name.

    Raises:
        ResultError: As `read_rows`.
        UnknownNameError: The board doesn't have it, or nothing is called so.
    """
    folder = store.record_path(*place, method="any").parent
    paths = [path for path in store.paths() if path.parent == folder]
    entries, arranged = read_rows(store, paths, by_fold=False)
    names = list(entries[0].metrics)
    if metric is not None and metric not in names:
        raise UnknownNameError(
            f"{entries[0].task} under {entries[0].protocol} has no metric {metric!r}."
            f"{did_you_mean(metric, names)}",
            f"It has {', '.join(names)}.",
        )
    return entries, arranged, metric or names[0]


def _apart(ours: BoardEntry, theirs: BoardEntry, arranged: Mapping[str, Arranged]) -> str:
    """Return why two records can't be compared at all; nothing if they can."""
    if ours.version != theirs.version:
        parts = ("data", "split", "engine")
        both = zip(parts, ours.version, theirs.version, strict=True)
        differing = [part for part, one, other in both if one != other]
        return f"measured on different versions of {' and '.join(differing)}"
    missing = [entry.method for entry in (ours, theirs) if entry.method not in arranged]
    return f"no finished unit of {' and '.join(missing)}" if missing else ""


def _extent(entry: BoardEntry) -> str:
    return f"{entry.n_pairs:,} pairs of {entry.folds_done}/{entry.folds} folds"


def _correct(
    entries: Sequence[BoardEntry],
    arranged: Mapping[str, Arranged],
    ours: BoardEntry,
    theirs: BoardEntry,
    metric: str,
) -> tuple[MetricValue, int]:
    """Return p as pages have it, or why they don't compare the two, and the number of comparisons."""
    if len({entry.version for entry in entries}) > 1:
        return MetricValue(None, "the board has rows of different versions of data, split or engine"), 0
    if unranked := [entry.method for entry in (ours, theirs) if not entry.ranked]:
        named = f"{' and '.join(unranked)} {'is' if len(unranked) == 1 else 'are'}n't ranked"
        return MetricValue(None, f"{named}: folds are missing, or failed"), 0
    if ours.apart != theirs.apart:
        taught = ours if ours.apart else theirs
        return MetricValue(None, f"{taught.method} was taught what is asked, and is placed apart"), 0
    league = {
        entry.method: arranged[entry.method].counted
        for entry in entries
        if entry.ranked and entry.apart == ours.apart and entry.method in arranged
    }
    tested = corrected_tests(league, [metric], theirs.method, ours.data)[metric]
    return tested[ours.method], sum(p.value is not None for p in tested.values())


def _choose_boards(
    placed: Mapping[str, Sequence[Place]],
    names: tuple[str, str],
    task: str | None,
    protocol: str | None,
) -> list[Place]:
    """Return the boards that both methods are on and that are asked for, in board order.

    Raises:
        UnknownNameError, UsageError: As `compare_methods`.
    """
    either = [place for places in placed.values() for place in places]
    tasks = choose_names(task, (place[0] for place in either), "task")
    protocols = choose_names(protocol, (place[1] for place in either), "protocol")
    common = [
        place
        for place in dict.fromkeys(placed[names[0]])
        if place in placed[names[1]] and place[0] in tasks and place[1] in protocols
    ]
    if not common:
        here = {
            name: ", ".join(f"{task} under {protocol}" for task, protocol in sorted(places)[:4])
            + (" and others" if len(places) > 4 else "")
            for name, places in placed.items()
        }
        raise UsageError(
            f"{names[0]} and {names[1]} have no such task and protocol in common"
            if task or protocol
            else f"{names[0]} and {names[1]} have no task and protocol in common",
            "\n".join(f"{name} has {text}" for name, text in here.items()),
        )
    return sorted(common, key=lambda place: (natural_order(place[0]), protocol_order(place[1])))


def _read_named(store: ResultStore, methods: Iterable[str]) -> list[Record]:
    """Read the records of some methods alone: a folder of many thousands is no reason to wait."""
    stems = {file_stem(method) for method in methods}
    return [store.load_at(path) for path in store.paths() if path.stem in stems]


def _no_record(name: str, known: Collection[str], root: Path) -> UnknownNameError:
    return UnknownNameError(
        f"{root} has no record of a method called {name!r}.{did_you_mean(name, known)}",
        f"It has records of {', '.join(sorted(known))}."
        if known
        else "Make one: comface-bench run --method M --task T",
    )


def _equals(p: MetricValue) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"
