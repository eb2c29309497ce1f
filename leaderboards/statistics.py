"""Statistics of boards: intervals, ranks, differences and tests on one task, and what is of several tasks."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comface_bench.leaderboards.document import (
    FEWEST_GROUPED,
    MOST_COMPARED,
    OVERALL,
    Agreement,
    Board,
    BoardRow,
    Comparison,
    MetricCell,
    Ranking,
    Settings,
    TaskGroup,
)
from comface_bench.leaderboards.formatting import format_value
from comface_bench.leaderboards.paper import (
    COMFACE,
    natural_order,
    paper_metrics,
    paper_values,
    protocol_order,
)
from comface_bench.stats.bootstrap import Interval, Resamples, score
from comface_bench.stats.metrics import METRICS, MetricValue
from comface_bench.stats.ranks import (
    FEWEST_TO_CORRELATE,
    correlate_ranks,
    critical_difference,
    friedman,
    rank_methods,
    shared_ranks,
    unranked,
)
from comface_bench.stats.significance import (
    Swaps,
    best_method,
    detectable_difference,
    difference,
    holm,
    swap_tests,
)
from comface_bench.stats.weighted import is_resampled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from comface_bench.leaderboards.document import BoardEntry
    from comface_bench.stats.bootstrap import Scores
    from comface_bench.stats.predictions import PredictionSet
    from comface_bench.stats.ranks import RankCorrelation
    from comface_bench.stats.significance import PairedDifference

    Tests = Mapping[str, Mapping[str, Mapping[str, MetricValue]]]

_NOT_TESTED = MetricValue(None, "not tested for this metric")
_NOT_COMPARABLE = MetricValue(None, "rows are of different versions of data, split or engine")
_UNKNOWN = MetricValue(None, "not in the record")
_NO_RESULT = "no finished unit"


class Arranged(NamedTuple):
    """A record's predictions: as its summary counts them, and fold by fold."""

    counted: PredictionSet
    by_fold: PredictionSet


def board_statistics(
    entries: Sequence[BoardEntry], arranged: Mapping[str, Arranged]
) -> tuple[Board, Scores | None]:
    """Compute a board.

    Rows of different versions have different people and pairs, so each version is resampled by itself, and
    nothing is compared. Rows that stand apart have places, ties and tests among themselves.

    Args:
        entries: Records of one task and protocol, in board order.
        arranged: Predictions by method, of those that have any.

    Returns:
        The board, and the primary metric of its ranked methods on the resamples; None where none is ranked.
    """
    first = entries[0]
    metrics = tuple(dict.fromkeys(name for entry in entries for name in entry.metrics))
    versions: dict[tuple[str, str, str], list[BoardEntry]] = {}
    for entry in entries:
        versions.setdefault(entry.version, []).append(entry)
    comparable = len(versions) == 1
    competing = [entry for entry in entries if comparable and entry.ranked and entry.method in arranged]
    ranked = [entry.method for entry in competing]
    leagues = {
        apart: [entry.method for entry in competing if entry.apart == apart] for apart in (False, True)
    }
    columns = {version: _columns(of, arranged, leagues, metrics) for version, of in versions.items()}
    rows = tuple(
        BoardRow(
            dataclasses.replace(entry, mixed_versions=not comparable),
            {
                name: _cell(entry, columns[entry.version][entry.apart].get(name), name)
                for name in metrics
                if name in entry.metrics
            },
            paper_values(entry.task, entry.protocol, entry.method, entry.topology, entry.head_start),
        )
        for entry in entries
    )
    own, apart = (columns[first.version][of] if comparable else {} for of in (False, True))
    missing = MetricValue(None, _NO_RESULT) if comparable else _NOT_COMPARABLE
    detectable = {name: detectable_difference(only(one.scores, ranked)) for name, one in own.items()}
    board = Board(
        task=first.task,
        protocol=first.protocol,
        metrics=metrics,
        rows=rows,
        best={name: own[name].best if name in own else None for name in metrics},
        detectable={name: detectable.get(name, missing) for name in metrics},
        comparable=comparable,
        best_apart={name: one.best for name, one in apart.items()} if leagues[True] else {},
        pairs=_pairs(own[metrics[0]].scores, ranked) if metrics[0] in own else {},
    )
    return board, only(own[metrics[0]].scores, ranked) if ranked and is_resampled(metrics[0]) else None


def _pairs(scores: Scores, ranked: Sequence[str]) -> dict[tuple[str, str], PairedDifference]:
    """Compare each ranked method with each one after it; of very many, the best."""
    ranks = _ranks(scores, ranked)
    chosen = set(sorted(ranks, key=ranks.__getitem__)[:MOST_COMPARED])
    listed = [name for name in ranked if name in chosen]
    return {(a, b): difference(scores, a, b) for a, b in combinations(listed, 2)}


def only(scores: Scores, methods: Sequence[str]) -> Scores:
    """Return the scores of some methods alone."""
    return dataclasses.replace(
        scores,
        values={name: scores.values[name] for name in methods},
        draws={name: scores.draws[name] for name in methods if name in scores.draws},
        left_out={name: scores.left_out[name] for name in methods if name in scores.left_out},
        pairs={name: scores.pairs[name] for name in methods},
    )


class _Column:
    """One metric of a board's methods, ranked within one league.

    Args:
        scores: As the task's summary counts folds.
        by_fold: Averaged over folds.
        ranked: Names of the league's ranked methods, in board order.
        tests: p by reference, metric and method.
    """

    def __init__(self, scores: Scores, by_fold: Scores, ranked: Sequence[str], tests: Tests) -> None:
        self.scores, self.by_fold = scores, by_fold
        self._ranked, self._tests = set(ranked), tests
        self.best = best_method(scores, ranked)
        self.ranks = _ranks(scores, ranked)

    def compare(self, method: str, reference: str | None) -> Comparison | None:
        """Compare a ranked method with another; None for itself, an unranked one, or no reference."""
        if reference is None or method == reference or not {method, reference} <= self._ranked:
            return None
        p = self._tests.get(reference, {}).get(self.scores.metric, {}).get(method, _NOT_TESTED)
        return Comparison(reference, difference(self.scores, method, reference), p)


def _columns(
    entries: Sequence[BoardEntry],
    arranged: Mapping[str, Arranged],
    leagues: Mapping[bool, Sequence[str]],
    metrics: Sequence[str],
) -> dict[bool, dict[str, _Column]]:
    """Compute the columns of rows of one version; none where no row has a prediction.

    Args:
        entries: The rows' records.
        arranged: Their predictions by method.
        leagues: Ranked methods, by whether they stand apart; those of a league are compared with each other.
        metrics: Names.

    Returns:
        Columns by metric, by league.
    """
    given = {entry.method: arranged[entry.method] for entry in entries if entry.method in arranged}
    if not given:
        return {apart: {} for apart in leagues}
    data = entries[0].data
    subjects = {number for one in given.values() for number in one.counted.subjects}
    resamples = Resamples.draw(subjects, data)
    values = {one.method: {name: one.metrics.get(name, _UNKNOWN) for name in metrics} for one in entries}
    scores = score({name: one.counted for name, one in given.items()}, metrics, resamples, values)
    by_fold = scores
    if any(one.by_fold is not one.counted for one in given.values()):
        values = {
            one.method: {name: one.fold_means.get(name, _UNKNOWN) for name in metrics} for one in entries
        }
        by_fold = score({name: one.by_fold for name, one in given.items()}, metrics, resamples, values)
    # Differences are tested in what the paper reports, and in the task's primary metric.
    tested = [name for name in metrics if is_resampled(name) and name in (metrics[0], *paper_metrics())]
    found = {}
    for apart, ranked in leagues.items():
        answers = {name: given[name].counted for name in ranked}
        tests = {
            reference: corrected_tests(answers, names, reference, data)
            for reference, names in _references(scores, tested, ranked).items()
        }
        found[apart] = {name: _Column(scores[name], by_fold[name], ranked, tests) for name in metrics}
    return found


def _references(
    scores: Mapping[str, Scores], names: Sequence[str], ranked: Sequence[str]
) -> dict[str, list[str]]:
    """Return the methods that others are tested against, with the metrics: each one's best, and ComFace."""
    if len(ranked) < 2:
        return {}
    found: dict[str, list[str]] = {COMFACE: list(names)} if COMFACE in ranked else {}
    for name in names:
        best = best_method(scores[name], ranked)
        if best is not None and name not in found.setdefault(best, []):
            found[best].append(name)
    return found


def corrected_tests(
    answers: Mapping[str, PredictionSet], names: Sequence[str], reference: str, data: str
) -> dict[str, dict[str, MetricValue]]:
    """Test all other ranked methods of a board against one, corrected for their number.

    Args:
        answers: Predictions of the ranked methods that are placed together.
        names: Metrics that have a resampled form.
        reference: The one that they are tested against.
        data: Name of the data set, which seeds the draw.

    Returns:
        p by metric and method.
    """
    swaps = Swaps.draw(answers[reference].subjects, data)
    return {name: holm(p) for name, p in swap_tests(answers, names, reference, swaps).items()}


def _cell(entry: BoardEntry, column: _Column | None, name: str) -> MetricCell:
    method = entry.method
    if column is None or method not in column.scores.values:
        value, mean = entry.metrics[name], entry.fold_means[name]
        nothing = Interval(None, None, None, value.reason or _NO_RESULT)
        return MetricCell(value, nothing, mean, nothing, None, None, None)
    return MetricCell(
        value=column.scores.values[method],
        interval=column.scores.interval(method),
        fold_mean=column.by_fold.values[method],
        fold_interval=column.by_fold.interval(method),
        rank=column.ranks.get(method),
        to_best=column.compare(method, column.best),
        to_comface=column.compare(method, COMFACE),
    )


def _ranks(scores: Scores, ranked: Sequence[str]) -> dict[str, int]:
    """Return the rank of each ranked method that has a value; values that print the same share one."""
    sign = -1 if METRICS[scores.metric].higher_is_better else 1
    values = {name: scores.values[name].value for name in ranked}
    known = sorted((sign * value, name) for name, value in values.items() if value is not None)
    texts = {name: format_value(scores.metric, sign * value) for value, name in known}
    ranks = {text: rank for rank, text in enumerate(dict.fromkeys(texts.values()), start=1)}
    return {name: ranks[text] for name, text in texts.items()}


def rankings(boards: Sequence[tuple[Board, Scores | None]]) -> tuple[Ranking, ...]:
    """Rank methods under each protocol: over each family of two or more tasks, then over all tasks.

    A ranking is of two methods at least.

    Each quantity (expression, weight, age, custom) counts the same, and within it each task: twelve action
    units don't outvote age and weight. Tasks without a ranked method have no part in it. A method without a
    complete record on one of the tasks isn't ranked, and the ranking names the tasks that it misses; nor is
    one that stands apart on one of them.

    Args:
        boards: With the primary metric of their ranked methods on the resamples.
    """
    ranked = []
    for board, scores in boards:
        apart = {row.entry.method for row in board.rows if row.entry.apart}
        names = [name for name in scores.values if name not in apart] if scores is not None else []
        if scores is not None and names:
            ranked.append((board, only(scores, names)))
    of_families, overall = [], []
    for protocol in sorted({board.protocol for board, _ in ranked}, key=protocol_order):
        mine = [(board, scores) for board, scores in ranked if board.protocol == protocol]
        for family in sorted({board.family for board, _ in mine}, key=natural_order):
            own = [(board, scores) for board, scores in mine if board.family == family]
            if len(own) > 1:
                of_families.append(_ranking(family, protocol, own))
        if len(mine) > 1:
            overall.append(_ranking(OVERALL, protocol, mine))
    return tuple(one for one in (*of_families, *overall) if one.compares)


def _ranking(scope: str, protocol: str, boards: Sequence[tuple[Board, Scores]]) -> Ranking:
    scores = {board.task: scored for board, scored in boards}
    quantities = {board.task: board.entry.quantity for board, _ in boards}
    standings = rank_methods(scores, groups=quantities)
    # A method whose only records are incomplete is on no board's scores, but it is there.
    shown = [row.entry for board, _ in boards for row in board.rows]
    for method in dict.fromkeys(entry.method for entry in shown):
        if method not in standings:
            standings[method] = unranked(scores)
    apart: dict[str, tuple[str, ...]] = {}
    for entry in shown:
        if entry.apart:
            apart[entry.method] = (*apart.get(entry.method, ()), entry.task)
            standings[entry.method] = unranked(())
    return Ranking(
        scope=scope,
        protocol=protocol,
        tasks=tuple(scores),
        standings=standings,
        friedman=friedman(standings),
        critical_difference=critical_difference(standings, groups=quantities),
        quantities=quantities,
        apart=apart,
    )


def task_groups(boards: Sequence[tuple[Board, Scores | None]]) -> tuple[TaskGroup, ...]:
    """Take tasks of one quantity on one data set under one protocol together, where there are several.

    Args:
        boards: With the primary metric of their ranked methods on the resamples, in board order.
    """
    members: dict[tuple[object, ...], list[tuple[Board, Scores]]] = {}
    for board, scores in boards:
        if scores is not None:
            entry = board.entry
            alike = (board.protocol, board.family, entry.data, entry.quantity, entry.version, scores.metric)
            members.setdefault(alike, []).append((board, scores))
    groups = [_task_group(own) for own in members.values() if len(own) >= FEWEST_GROUPED]
    return tuple(group for group in groups if group.cells)


def _task_group(members: Sequence[tuple[Board, Scores]]) -> TaskGroup:
    boards, scores = zip(*members, strict=True)
    apart = {row.entry.method for board in boards for row in board.rows if row.entry.apart}
    methods = [
        name
        for name in scores[0].values
        if all(name in one.values and one.values[name].value is not None for one in scores)
        # Resamples of other people can't be averaged: some may have no label of one of the tasks.
        and len({len(one.left_out[name]) for one in scores}) == 1
    ]
    mean = _mean_scores(scores, methods)
    cells: dict[str, MetricCell] = {}
    for league in (False, True):
        ranked = [name for name in methods if (name in apart) == league]
        column = _Column(mean, mean, ranked, {})
        for name in ranked:
            value, interval = mean.values[name], mean.interval(name)
            to_best, to_comface = column.compare(name, column.best), column.compare(name, COMFACE)
            cells[name] = MetricCell(
                value, interval, value, interval, column.ranks.get(name), to_best, to_comface
            )
    first = boards[0]
    return TaskGroup(first.protocol, first.entry.quantity, boards, {name: cells[name] for name in methods})


def _mean_scores(scores: Sequence[Scores], methods: Sequence[str]) -> Scores:
    """Average one metric over tasks of the same people, resample by resample."""
    values = {name: [one.values[name].value or 0.0 for one in scores] for name in methods}
    draws = {name: [one.draws[name] for one in scores] for name in methods}
    left_out = {name: [one.left_out[name] for one in scores] for name in methods}
    return dataclasses.replace(
        scores[0],
        values={name: MetricValue(float(np.mean(of))) for name, of in values.items()},
        draws={name: np.mean(of, axis=0) for name, of in draws.items()},
        left_out={name: np.mean(of, axis=0) for name, of in left_out.items()},
        pairs={name: " ".join(one.pairs[name] for one in scores) for name in methods},
        reasons={
            name: reason
            for name in methods
            if (reason := next(filter(None, (one.reasons.get(name, "") for one in scores)), ""))
        },
    )


def settings(boards: Sequence[tuple[Board, Scores | None]]) -> tuple[Settings, ...]:
    """Put together the settings of each protocol that a task ran under, where there are several.

    Args:
        boards: With the primary metric of their ranked methods on the resamples, in board order.
    """
    grouped: dict[tuple[str, str], list[tuple[Board, Scores | None]]] = {}
    for board, scores in boards:
        grouped.setdefault((board.task, board.protocol.partition("+")[0]), []).append((board, scores))
    found = []
    for (task, protocol), members in grouped.items():
        (first, reference), *others = members
        changes = {
            (method, board.protocol): _change(method, scores, reference)
            for board, scores in others
            for method in (scores.values if scores is not None else ())
            if scores is not None
            and reference is not None
            and method in reference.values
            and scores.metric == reference.metric
            and board.entry.version == first.entry.version
        }
        if others:
            found.append(Settings(task, protocol, tuple(board for board, _ in members), changes))
    return tuple(found)


def _change(method: str, scores: Scores, reference: Scores) -> PairedDifference:
    """Compare a method with itself under other settings: resamples of one data set are the same people."""
    first = "first setting"
    both = dataclasses.replace(
        scores,
        values={method: scores.values[method], first: reference.values[method]},
        draws={name: of.draws[method] for name, of in ((method, scores), (first, reference)) if of.draws},
        left_out={
            name: of.left_out[method] for name, of in ((method, scores), (first, reference)) if of.left_out
        },
        pairs={method: scores.pairs[method], first: reference.pairs[method]},
        reasons={method: scores.reasons.get(method, ""), first: reference.reasons.get(method, "")},
    )
    return difference(both, method, first)


class _Side(NamedTuple):
    """Tasks of one quantity on one data set under one protocol, each with its scores."""

    boards: list[Board]
    scores: list[Scores]

    @property
    def methods(self) -> list[str]:
        """Methods that have a value on all tasks, in board order."""
        return [
            row.entry.method
            for row in self.boards[0].rows
            if all(
                row.entry.method in one.draws and one.values[row.entry.method].value is not None
                for one in self.scores
            )
        ]

    @property
    def marked(self) -> set[str]:
        """Methods of which the place on some task says little: taught what it asks, or by its generator."""
        rows = (row.entry for board in self.boards for row in board.rows)
        return {entry.method for entry in rows if entry.apart or entry.same_generator}

    def order(self, methods: Sequence[str]) -> NDArray[np.float64]:
        """Return what methods are ordered by, lower is better: (n, 1 + R), the resamples behind the value."""
        ranks = []
        for one in self.scores:
            values = [[one.values[name].value, *one.draws[name]] for name in methods]
            higher = METRICS[one.metric].higher_is_better
            ranks.append(shared_ranks(np.array(values, dtype=np.float64), higher_is_better=higher))
        mean: NDArray[np.float64] = np.mean(ranks, axis=0)
        return mean


def agreements(boards: Sequence[tuple[Board, Scores | None]]) -> tuple[Agreement, ...]:
    """Correlate the orders of methods on photographs with those on rendered faces.

    Each data set and quantity of photographs meets each of rendered faces, once for each protocol: under the
    settings that have most methods in common, the same ones where there is a choice.

    Args:
        boards: With the primary metric of their ranked methods on the resamples, in board order.
    """
    sides: dict[tuple[bool, str, str, str], _Side] = {}
    for board, scores in boards:
        if scores is not None:
            entry = board.entry
            side = sides.setdefault(
                (entry.rendered, entry.data, entry.quantity, board.protocol), _Side([], [])
            )
            side.boards.append(board)
            side.scores.append(scores)
    best: dict[tuple[str, ...], tuple[tuple[int, bool], _Side, _Side]] = {}
    for (of_rendered, data, quantity, protocol), photographs in sides.items():
        for (rendered, other_data, other_quantity, other), faces in sides.items():
            base = protocol.partition("+")[0]
            if of_rendered or not rendered or other.partition("+")[0] != base:
                continue
            common = set(photographs.methods) & set(faces.methods)
            meeting = (data, quantity, other_data, other_quantity, base)
            worth = (len(common), protocol == other)
            if len(common) >= FEWEST_TO_CORRELATE and (meeting not in best or worth > best[meeting][0]):
                best[meeting] = (worth, photographs, faces)
    return tuple(_agreement(photographs, faces) for _, photographs, faces in best.values())


def _agreement(photographs: _Side, faces: _Side) -> Agreement:
    methods = [name for name in photographs.methods if name in faces.methods]
    unmarked = [name for name in methods if name not in photographs.marked | faces.marked]
    enough = FEWEST_TO_CORRELATE <= len(unmarked) < len(methods)

    def correlate(names: Sequence[str]) -> RankCorrelation:
        return correlate_ranks(photographs.order(names), faces.order(names))

    return Agreement(
        photographs=tuple(board.task for board in photographs.boards),
        rendered=tuple(board.task for board in faces.boards),
        photographs_protocol=photographs.boards[0].protocol,
        rendered_protocol=faces.boards[0].protocol,
        methods=tuple(methods),
        correlation=correlate(methods),
        unmarked=tuple(unmarked),
        unmarked_correlation=correlate(unmarked) if enough else None,
    )
