"""The forest plot of one board, drawn by matplotlib: a line for each method, its value and 95 % interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UsageError
from comface_bench.core.plotting import load_matplotlib, plain_text
from comface_bench.leaderboards.formatting import heading, unit_of
from comface_bench.stats.bootstrap import Resamples, score
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from matplotlib.axes import Axes

    from comface_bench.leaderboards.document import BoardEntry
    from comface_bench.leaderboards.statistics import Arranged
    from comface_bench.stats.bootstrap import Interval


def board_intervals(
    entries: Sequence[BoardEntry], arranged: Mapping[str, Arranged], metric: str
) -> dict[str, Interval]:
    """Return the interval of each method of a board, as its page has it.

    Args:
        entries: All records of one task and protocol.
        arranged: Predictions by method, of those that have any.
        metric: Name of a metric that all records have.
    """
    found: dict[str, Interval] = {}
    # Rows of different versions have different people, so each version is resampled by itself.
    for version in dict.fromkeys(entry.version for entry in entries):
        own = [entry for entry in entries if entry.version == version and entry.method in arranged]
        if not own:
            continue
        given = {entry.method: arranged[entry.method].counted for entry in own}
        people = {number for one in given.values() for number in one.subjects}
        values = {entry.method: {metric: entry.metrics[metric]} for entry in own}
        scores = score(given, [metric], Resamples.draw(people, own[0].data), values)[metric]
        found |= {name: scores.interval(name) for name in given}
    return found


def draw_forest(
    entries: Sequence[BoardEntry],
    arranged: Mapping[str, Arranged],
    metric: str | None = None,
    methods: Collection[str] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a board, the best method on top; a dashed line is the error of always answering 0.

    Signs behind names are those of pages; hollow points are of incomplete records.

    Args:
        entries: All records of one task and protocol.
        arranged: Predictions by method, of those that have any.
        metric: Name of a metric that all records have; the first one by default.
        methods: Those that are shown; all by default.
        axes: Where to draw; a new figure by default.

    Returns:
        Where it was drawn.

    Raises:
        MissingExtraError: matplotlib isn't installed.
        UsageError: No method has a value.
    """
    plots = load_matplotlib("plots need matplotlib, which isn't installed", module="matplotlib.pyplot")
    first, name = entries[0], metric or next(iter(entries[0].metrics))
    values = {
        entry.method: entry.metrics[name].value
        for entry in entries
        if methods is None or entry.method in methods
    }
    known = {method: value for method, value in values.items() if value is not None}
    if not known:
        raise UsageError(f"no method has a value of {name} on {first.task} under {first.protocol}")
    card = METRICS[name]
    ordered = sorted(known, key=known.__getitem__, reverse=card.higher_is_better)
    if axes is None:
        longest = max(map(len, ordered))
        size = (4.5 + 0.07 * longest, 1.2 + 0.28 * len(ordered))
        axes = plots.subplots(figsize=size, layout="constrained")[1]
    assert axes is not None
    factor = 100 if card.percent else 1
    intervals, by_name = board_intervals(entries, arranged, name), {entry.method: entry for entry in entries}
    for place, method in enumerate(ordered):
        value, interval = known[method] * factor, intervals.get(method)
        if interval is not None and interval.low is not None and interval.high is not None:
            axes.plot([interval.low * factor, interval.high * factor], [place, place], "-", color="C0")
        fill: Any = "full" if by_name[method].complete else "none"
        axes.plot(value, place, "o", color="C0", fillstyle=fill)
    baselines = [entry for entry in entries if entry.method in known]
    fullest = max(baselines, key=lambda entry: (entry.complete, entry.n_pairs)).baseline.get(name)
    if fullest is not None and fullest.value is not None:
        axes.axvline(fullest.value * factor, linestyle="--", color="0.5", label="no change")
        axes.legend(frameon=False, loc="best")
    axes.set_yticks(range(len(ordered)), [plain_text(method + by_name[method].marks) for method in ordered])
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    unit = unit_of(name, first.unit)
    axes.set_xlabel(plain_text(f"{heading(name)}{f', {unit}' if unit and not card.percent else ''}"))
    axes.set_title(plain_text(f"{first.task} · {first.protocol}"))
    axes.grid(axis="x", linewidth=0.4)
    return axes
