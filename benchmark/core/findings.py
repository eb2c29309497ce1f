"""Findings: things that are wrong with a file of results or a submission, and the lines that they are on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something wrong with a result file.

    Attributes:
        file: The file, as the check was given it.
        place: Where in it: a field such as `units.0.metrics.mae`, a line, or empty for the whole file.
        message: What is wrong, one line.
        hint: What to do next; empty if the message says it all.
        line: Of a record's JSON, from 1; None where there is none to name.
    """

    file: str
    place: str
    message: str
    hint: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """One line for people, without the hint."""
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (file, self.place, self.message) if part)


class LineIndex:
    """Finds fields in a record as comface-bench writes it: indented, one value a line.

    Args:
        data: The file's bytes; one that isn't laid out so has no lines to name.
    """

    def __init__(self, data: bytes) -> None:
        self._heights: dict[int, int] = {}
        self._facts: Any = None
        try:
            facts = json.loads(data)
            if json.dumps(facts, indent=1).encode() == data.rstrip(b"\n"):
                self._facts = facts
        except (ValueError, RecursionError):
            pass

    def of(self, place: str) -> int | None:
        """Return the line of a field, from 1.

        Args:
            place: Names and numbers from the outside in, such as `units.0.metrics.mae`. Where the last ones
                aren't in the file, the line is that of the innermost one that is.
        """
        line, value, found = 1, self._facts, False
        for part in place.split("."):
            items = _items(value)
            if part not in items:
                break
            names = list(items)
            line += 1 + sum(self._height(items[name]) for name in names[: names.index(part)])
            value, found = items[part], True
        return line if found else None

    def _height(self, value: Any) -> int:
        """Return the number of lines that a value takes up."""
        items = _items(value)
        if not items:
            return 1
        if id(value) not in self._heights:
            self._heights[id(value)] = 2 + sum(map(self._height, items.values()))
        return self._heights[id(value)]


def _items(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {str(number): inner for number, inner in enumerate(value)} if isinstance(value, list) else {}
