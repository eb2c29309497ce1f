"""Two methods of a board side by side: what the script shows once the reader has chosen them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from comface_bench.leaderboards.formatting import (
    format_value,
    heading,
    interval_text,
    signed_text,
    unit_of,
    visible,
)
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Board
    from comface_bench.stats.significance import PairedDifference


def compare_data(board: Board) -> str:
    """Return the differences of all pairs of methods as JSON, every number as the page prints it.

    Returns:
        `heading`, `higher` (whether higher is better), `chosen` (the best and the second, as numbers of
        `methods`), `methods` (name, value, interval, whether it stands apart) and `pairs`: by "i-j" with
        i < j the difference of the i-th to the j-th, low, high, and whether they are tied. Empty for fewer
        than two methods.
    """
    name = board.metrics[0]
    listed = {method for pair in board.pairs for method in pair}
    rows = [row for row in board.rows if row.entry.method in listed]
    if len(rows) < 2:
        return ""
    places = {row.entry.method: place for place, row in enumerate(rows)}
    ranks = [(row.entry.apart, row.cells[name].rank or len(rows)) for row in rows]
    order = sorted(range(len(rows)), key=ranks.__getitem__)
    unit = unit_of(name, board.entry.unit)
    data = {
        "heading": f"{heading(name)}{f', {visible(unit)}' if unit else ''}",
        "higher": METRICS[name].higher_is_better,
        "chosen": order[:2],
        "methods": [
            [
                visible(row.entry.method),
                format_value(name, row.cells[name].value.value),
                interval_text(name, row.cells[name].interval),
                row.entry.apart,
            ]
            for row in rows
        ],
        "pairs": {
            f"{places[first]}-{places[second]}": _difference(name, found)
            for (first, second), found in board.pairs.items()
        },
    }
    return json.dumps(data, separators=(",", ":"))


def _difference(name: str, found: PairedDifference) -> list[str | bool | None]:
    low, high = found.interval.low, found.interval.high
    ends = (None, None) if low is None or high is None else (signed_text(name, low), signed_text(name, high))
    return [signed_text(name, found.value), *ends, found.tied]
