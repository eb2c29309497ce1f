"""Sessions as tables have them: what images that belong together share, which a time of day isn't."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from comface_bench.core.names import find_spellings
from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.files import RepeatedProblems

_CLOCK = re.compile(
    r"(?P<day>.*?)[T ,]*(?<![0-9])[0-2]?[0-9][:h][0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
    r" ?(?:[ap]\.?m\.?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)


def check_sessions(rows: Sequence[Mapping[str, Any]], column: str, problems: ProblemList) -> None:
    """Report what parts images of one session, so that they would make no pair.

    Args:
        rows: With `where`, `subject`, `session` and `phase`.
        column: Name of the sessions' column in messages.
        problems: Receives, once each with the number of the others, a session in two spellings, and times of
            day of which some have images before treatment alone and some after it alone.
    """
    sessions: dict[str, dict[str, str]] = {}
    days: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        subject, session, phase, where = (row[key] or "" for key in ("subject", "session", "phase", "where"))
        sessions.setdefault(subject, {}).setdefault(session, where)
        if phase and (match := _CLOCK.fullmatch(session)):
            phases = days.setdefault((subject, match["day"]), {}).setdefault(session, {})
            phases.setdefault(phase, where)
    mistakes = RepeatedProblems("session")
    for places in sessions.values():
        for name, other in find_spellings(places):
            mistakes.add(
                "spelling",
                places[other],
                f"{column} {other!r} seems to be {name!r} ({places[name]}) in another spelling",
                "Write each session of a person in one way.",
            )
    for (_, day), times in days.items():
        lone = {time: tuple(phases.items()) for time, phases in times.items() if len(phases) == 1}
        if len({phase for ((phase, _),) in lone.values()}) < 2:
            continue
        for time, ((phase, where),) in lone.items():
            mistakes.add(
                "clock",
                where,
                f"{column} is {time!r}, a time of day, which only {phase} images of this person have",
                "Write what the images before and after one treatment share: "
                + (f"the day alone, {day}." if day else "the day or number of the visit."),
            )
    mistakes.report_to(problems)
