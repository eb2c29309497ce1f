"""JSON: `leaderboard.json`, the whole document, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comface_bench.leaderboards.document import COLUMNS
from comface_bench.leaderboards.formatting import precise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comface_bench.leaderboards.document import (
        Board,
        BoardRow,
        Comparison,
        Document,
        Fact,
        MetricCell,
        Ranking,
    )
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue
    from comface_bench.stats.ranks import Standing

VERSION = 1
"""Raised when a field changes its meaning or goes; new fields may come without it."""
FACTS = ("idle", "data", "target", "unit", "split", "manifest_digest", "split_digest", "aggregate")
COUNTS = ("folds_done", "folds", "seeds", "pairs", "subjects", "failures")
METHOD = ("overlap", "trained_on", "training_scale", "licence", "parameters", "images_per_second")


def leaderboard_json(document: Document) -> str:
    """Write the file, one line for each row and for each method of a ranking.

    Numbers are in the metric's own unit (`acc` as a fraction), rounded to ten digits; null stands for none,
    with a `reason` beside it where one is known.
    """
    boards = _array(map(_board, document.boards))
    rankings = _array(map(_ranking, document.rankings))
    return f'{{"version": {VERSION},\n"boards": {boards},\n"rankings": {rankings}}}\n'


def _board(board: Board) -> str:
    facts = {
        "task": board.task,
        "protocol": board.protocol,
        "family": board.family,
        "metrics": board.metrics,
        "comparable": board.comparable,
        "best": dict(board.best),
        "detectable": {name: _value(found) for name, found in board.detectable.items()},
    }
    return _with_lines(facts, "rows", (_dump(_row(board, row)) for row in board.rows))


def _ranking(ranking: Ranking) -> str:
    facts = {
        "scope": ranking.scope,
        "protocol": ranking.protocol,
        "tasks": ranking.tasks,
        "friedman_p": _value(ranking.friedman),
        "critical_difference": _value(ranking.critical_difference),
    }
    standings = (_dump({"method": name} | _standing(one)) for name, one in ranking.standings.items())
    return _with_lines(facts, "standings", standings)


def _row(board: Board, row: BoardRow) -> dict[str, Any]:
    return {
        **_facts(row, ("method", "group", "kind", "complete")),
        "ranked": row.entry.ranked and board.comparable,
        **_facts(row, (*FACTS, *COUNTS, *METHOD)),
        "constant": {name: _value(value) for name, value in row.entry.baseline.items()},
        "paper": {name: {"value": _round(it.value), "table": it.table} for name, it in row.paper.items()},
        "cells": {name: _cell(cell) for name, cell in row.cells.items()},
    }


def _facts(row: BoardRow, names: Iterable[str]) -> dict[str, Fact]:
    found = {name: COLUMNS[name].value(row.entry) for name in names}
    return {name: _round(value) if isinstance(value, float) else value for name, value in found.items()}


def _cell(cell: MetricCell) -> dict[str, Any]:
    return {
        **_value(cell.value),
        "interval": _interval(cell.interval),
        "fold_mean": _value(cell.fold_mean) | {"interval": _interval(cell.fold_interval)},
        "place": cell.rank,
        "tied": cell.tied,
        "to_best": _comparison(cell.to_best),
        "to_comface": _comparison(cell.to_comface),
    }


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    difference = comparison.difference
    found: dict[str, Any] = {"reference": comparison.reference, "value": _round(difference.value)}
    found |= {"reason": difference.reason} if difference.reason else {}
    return found | {"interval": _interval(difference.interval), "p": _value(comparison.p)}


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "place": _round(standing.rank),
        "place_interval": None if standing.rank_low is None else [standing.rank_low, standing.rank_high],
        "mean_rank": _round(standing.mean_rank),
        "mean_rank_interval": _interval(standing.mean_rank_interval),
        "borda": _round(standing.borda),
        "ranks": {task: _round(rank) for task, rank in standing.ranks.items()},
        "missing": standing.missing,
    }


def _value(found: MetricValue) -> dict[str, Any]:
    return {"value": None, "reason": found.reason} if found.reason else {"value": _round(found.value)}


def _interval(interval: Interval) -> list[float | None] | None:
    return None if interval.low is None else [_round(interval.low), _round(interval.high)]


def _round(value: float | None) -> float | None:
    return None if value is None else float(precise(value))


def _with_lines(facts: dict[str, Any], key: str, lines: Iterable[str]) -> str:
    return f'{_dump(facts)[:-1]}, "{key}": {_array(lines)}}}'


def _array(lines: Iterable[str]) -> str:
    text = ",\n".join(lines)
    return f"[\n{text}\n]" if text else "[]"


def _dump(facts: dict[str, Any]) -> str:
    """Write one line; what is no ASCII is escaped, so that no editor or terminal is led astray by it."""
    return json.dumps(facts, allow_nan=False)
