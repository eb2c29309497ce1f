"""One board's statistics: intervals, places, differences and tests of all methods on one task."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.leaderboards.document import Board, Cell, Comparison, Row
from comface_bench.leaderboards.numbers import format_value
from comface_bench.leaderboards.paper import paper_values
from comface_bench.stats.bootstrap import Interval, Resamples, score
from comface_bench.stats.metrics import METRICS, MetricValue
from comface_bench.stats.paired import best_method, difference
from comface_bench.stats.permutation import Swaps, holm, swap_tests
from comface_bench.stats.power import detectable_difference
from comface_bench.stats.weighted import RESAMPLED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.table import Entry
    from comface_bench.stats.answers import Answers
    from comface_bench.stats.bootstrap import Scores

COMFACE = "comface"
TESTED = ("mae", "pearson", "acc")
"""Metrics that differences are tested in, as they are what the paper reports; and a task's primary one."""

_NOT_TESTED = MetricValue(None, "not tested for this metric")
NOT_RESAMPLED = "not resampled for this metric"


class Arranged(NamedTuple):
    """A record's predictions: as its summary counts them, and fold by fold."""

    counted: Answers
    by_fold: Answers


def board_statistics(
    entries: Sequence[Entry], arranged: Mapping[str, Arranged]
) -> tuple[Board, Scores | None]:
    """Compute a board.

    Args:
        entries: Records of one task and protocol, in board order.
        arranged: Predictions by method, of those that have any.

    Returns:
        The board, and the primary metric of its ranked methods on the resamples; None where none is ranked.
    """
    first = entries[0]
    metrics = tuple(first.metrics)
    comparable = len({entry.version for entry in entries}) == 1
    ranked = [entry.method for entry in entries if entry.ranked and comparable and entry.method in arranged]
    subjects = {number for one in arranged.values() for number in one.counted.subjects}
    columns: dict[str, _Column] = {}
    resampled = [name for name in metrics if name in RESAMPLED]
    if arranged:
        resamples = Resamples.draw(subjects, first.data)
        scores = score({name: one.counted for name, one in arranged.items()}, resampled, resamples)
        by_fold = scores
        if any(one.by_fold is not one.counted for one in arranged.values()):
            by_fold = score({name: one.by_fold for name, one in arranged.items()}, resampled, resamples)
        answers = {name: arranged[name].counted for name in ranked}
        tested = [name for name in resampled if name in TESTED or name == metrics[0]]
        tests = {
            reference: _test(answers, names, reference, first.data)
            for reference, names in _references(scores, tested, ranked).items()
        }
        columns = {name: _Column(scores[name], by_fold[name], ranked, tests) for name in resampled}
    rows = tuple(
        Row(
            entry,
            {name: _cell(entry, name, columns.get(name)) for name in metrics if name in entry.metrics},
            paper_values(entry.task, entry.protocol, entry.method),
        )
        for entry in entries
    )
    board = Board(
        task=first.task,
        protocol=first.protocol,
        metrics=metrics,
        rows=rows,
        best={name: columns[name].best if name in columns else None for name in metrics},
        detectable={
            name: columns[name].detectable if name in columns else MetricValue(None, NOT_RESAMPLED)
            for name in metrics
        },
        comparable=comparable,
    )
    primary = columns.get(metrics[0])
    return board, only(primary.scores, ranked) if ranked and primary else None


def only(scores: Scores, methods: Sequence[str]) -> Scores:
    """Return the scores of some methods alone."""
    names = [name for name in methods if name in scores.values]
    return dataclasses.replace(
        scores,
        values={name: scores.values[name] for name in names},
        draws={name: scores.draws[name] for name in names},
        left_out={name: scores.left_out[name] for name in names},
        pairs={name: scores.pairs[name] for name in names},
    )


def _references(
    scores: Mapping[str, Scores], names: Sequence[str], ranked: Sequence[str]
) -> dict[str, list[str]]:
    """Return the methods that others are tested against, with the metrics: each one's best, and ComFace."""
    found: dict[str, list[str]] = {COMFACE: list(names)} if COMFACE in ranked else {}
    for name in names if len(ranked) > 1 else ():
        best = best_method(scores[name], ranked)
        if best is not None and name not in found.setdefault(best, []):
            found[best].append(name)
    return found


def _test(
    answers: Mapping[str, Answers], names: Sequence[str], reference: str, data: str
) -> dict[str, dict[str, MetricValue]]:
    swaps = Swaps.draw(answers[reference].subjects, data)
    return {name: holm(p) for name, p in swap_tests(answers, names, reference, swaps).items()}


class _Column:
    """One metric of a board's methods.

    Args:
        scores: As the task's summary counts folds.
        by_fold: Averaged over folds.
        ranked: Names of the ranked methods, in board order.
        tests: p by reference, metric and method.
    """

    def __init__(
        self,
        scores: Scores,
        by_fold: Scores,
        ranked: Sequence[str],
        tests: Mapping[str, Mapping[str, Mapping[str, MetricValue]]],
    ) -> None:
        self.scores, self.by_fold = scores, by_fold
        self._ranked = set(ranked)
        self.best = best_method(scores, ranked) if ranked else None
        self.places = _places(scores, ranked)
        self.detectable = detectable_difference(only(scores, ranked))
        self._tests = tests

    def compare(self, method: str, reference: str | None) -> Comparison | None:
        """Compare a ranked method with another; None for itself, an unranked one, or no reference."""
        if reference is None or method == reference or not {method, reference} <= self._ranked:
            return None
        p = self._tests.get(reference, {}).get(self.scores.metric, {}).get(method, _NOT_TESTED)
        return Comparison(reference, difference(self.scores, method, reference), p)


def _cell(entry: Entry, name: str, column: _Column | None) -> Cell:
    method = entry.method
    if column is None or method not in column.scores.values:
        value = entry.metrics[name]
        nothing = Interval(None, None, None, value.reason or NOT_RESAMPLED)
        return Cell(value, nothing, entry.fold_means[name], nothing, None, None, None)
    return Cell(
        value=column.scores.values[method],
        interval=column.scores.interval(method),
        fold_mean=column.by_fold.values[method],
        fold_interval=column.by_fold.interval(method),
        place=column.places.get(method),
        to_best=column.compare(method, column.best),
        to_comface=column.compare(method, COMFACE),
    )


def _places(scores: Scores, ranked: Sequence[str]) -> dict[str, int]:
    """Return the place of each ranked method that has a value; values that print the same share one."""
    sign = -1 if METRICS[scores.metric].higher_is_better else 1
    values = {name: scores.values[name].value for name in ranked}
    known = sorted((sign * value, name) for name, value in values.items() if value is not None)
    places: dict[str, int] = {}
    before, place = "", 0
    for number, (value, name) in enumerate(known, start=1):
        text = format_value(scores.metric, sign * value)
        if text != before:
            before, place = text, number
        places[name] = place
    return places
