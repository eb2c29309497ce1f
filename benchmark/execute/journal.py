"""The journal: one JSON line for each start and end of a unit, in the results folder.

It is for people who ask what happened; no result depends on it.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from comface_bench.core.unit import Unit

NAME = "journal.jsonl"


class Journal:
    """Appends to `journal.jsonl` under a results folder."""

    def __init__(self, results: Path) -> None:
        self.path = results / NAME

    def write(self, happened: str, unit: Unit, **facts: str | float) -> None:
        """Append one line: when, what (`start`, `end` or `failure`), which unit, and further facts."""
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "event": happened,
            "unit": unit.label,
            "key": unit.key(),
            **facts,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write of one line in append mode: lines of several processes don't mix.
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
