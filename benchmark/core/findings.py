"""Findings: things that are wrong with a file of results or a submission."""

from __future__ import annotations

from dataclasses import dataclass


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
