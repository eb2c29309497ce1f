"""A ranking of methods over several tasks, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.markdown import beneath, bold, escape, table, underline
from comface_bench.leaderboards.numbers import DASH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comface_bench.leaderboards.document import Ranking
    from comface_bench.stats.ranks import Standing

READING = (
    "Ranks are by each task's first metric, 1 the best, among the methods that have a complete record on all "
    "of the tasks; every task counts the same. Intervals are of 95 %, by resampling the people tested. A "
    "method's Borda count is how many others it beats, over all tasks, ties counted half."
)


def find_ranking(rankings: Iterable[Ranking], scope: str, protocol: str) -> Ranking | None:
    """Find a ranking; None where fewer than two tasks can be ranked on."""
    return next((one for one in rankings if (one.scope, one.protocol) == (scope, protocol)), None)


def standings_table(ranking: Ranking) -> list[str]:
    """Write the methods by mean rank, then those that are left out."""
    header = ["Method", "Place", "Mean rank", "Borda count", "Tasks"]
    ordered = sorted(ranking.standings.items(), key=lambda item: item[1].mean_rank is None)
    return table(header, [_row(method, one, len(ranking.tasks)) for method, one in ordered])


def standings_notes(ranking: Ranking) -> list[str]:
    """Say what the differences of mean ranks are worth, and which methods are left out for which tasks."""
    friedman, critical = ranking.friedman, ranking.critical_difference
    notes = [f"{len(ranking.tasks)} tasks: {_names(ranking.tasks)}."]
    if friedman.value is None:
        notes.append(f"No Friedman test: {escape(friedman.reason or '')}.")
    else:
        p = f"p {friedman.value:.3f}" if friedman.value >= 0.001 else f"p {escape('<')} 0.001"
        notes.append(
            f"Friedman's test that all methods are equally good: {p}. It takes tasks as independent; where "
            "they share people, as action units do, p is too small."
        )
    if critical.value is None:
        notes.append(f"No critical difference: {escape(critical.reason or '')}.")
    else:
        closer = f"mean ranks closer than {critical.value:.2f} may be equal"
        notes.append(f"Nemenyi's critical difference: {closer}.")
    left_out: dict[tuple[str, ...], list[str]] = {}
    for name, standing in ranking.standings.items():
        if standing.missing:
            left_out.setdefault(standing.missing, []).append(name)
    for tasks, names in left_out.items():
        notes.append(
            f"Without a complete, comparable record on {_names(tasks)}, not ranked: {_names(names)}."
        )
    return [f"- {note}" for note in notes]


def _row(method: str, standing: Standing, tasks: int) -> list[str]:
    done = f"{tasks - len(standing.missing)}/{tasks}"
    if standing.mean_rank is None or standing.place is None or standing.borda is None:
        return [escape(method), DASH, DASH, DASH, done]
    place = f"{standing.place:g}"
    if standing.place == 1:
        place = bold(place)
    elif standing.place == 2:
        place = underline(place)
    span = "" if standing.place_low is None else f"{standing.place_low} to {standing.place_high}"
    ends = standing.mean_rank_interval
    interval = "" if ends.low is None or ends.high is None else f"[{ends.low:.2f}, {ends.high:.2f}]"
    mean = beneath(f"{standing.mean_rank:.2f}", interval)
    return [escape(method), beneath(place, span), mean, f"{standing.borda:g}", done]


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(escape, names))
