"""Repeated mistakes, reported once with their number."""

from __future__ import annotations

from comface_bench.core.problems import ProblemList


def counted(count: int, what: str) -> str:
    """Return a number of things in words: `1 frame`, `4,845 frames`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def and_more(count: int, what: str) -> str:
    """Return the number of further mistakes of a kind in brackets; an empty text for 0."""
    return f" (and {count:,} more such {what}{'' if count == 1 else 's'})" if count else ""


class RepeatedMistakes:
    """Collects mistakes that belong together; each kind is reported once, by its first case.

    Args:
        what: Noun for a case: `line`, `file`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: dict[str, tuple[str, str, str]] = {}
        self._count: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, kind: str, where: str, message: str, remedy: str) -> None:
        """Note down a mistake.

        Args:
            kind: Key that all mistakes of its kind share.
            where: File, and line where there is one.
            message: What is wrong there.
            remedy: What to do about it.
        """
        self._first.setdefault(kind, (where, message, remedy))
        self._count[kind] = self._count.get(kind, 0) + 1

    def report_to(self, problems: ProblemList) -> None:
        """Add one problem of each kind."""
        for kind, (where, message, remedy) in self._first.items():
            problems.add(where, f"{message}{and_more(self._count[kind] - 1, self._what)}", remedy)
