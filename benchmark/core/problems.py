"""Problems: everything that is wrong with a data set, reported at once rather than one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from comface_bench.core.errors import BenchError, DataFormatError, DataMissingError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: The file, with its line or frame where there is one: `path:12`.
        message: What is wrong there.
        remedy: What to do about it, a command where there is one; may be empty.
    """

    where: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True)
class Note:
    """Something that a reader left out or passed over on purpose, for `data check` to report.

    A reader yields notes among its rows; they are no part of the manifest or its digest.

    Attributes:
        text: One sentence, with the subject or file and the count that it concerns.
    """

    text: str


class DataProblemsError(DataFormatError):
    """A data set with one problem or more.

    Attributes:
        problems: All of them, in the order in which they were found; never empty.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first, more = problems[0], len(problems) - 1
        also = f"\nand {more:,} more; list them all: comface-bench data check TASK" if more else ""
        super().__init__(f"{first}{also}", first.remedy)
        self.problems = problems


class ProblemList:
    """Collects problems while reading goes on, so that one look shows them all."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __len__(self) -> int:
        return len(self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        """All problems so far."""
        return tuple(self._found)

    def add(self, where: object, message: str, remedy: str = "") -> None:
        """Note one problem down."""
        self._found.append(Problem(str(where), message, remedy))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note down the problem, or all problems, of an error that the block raises, and go on behind it.

        Data that aren't there at all are no problem of the data: that error is passed on.
        """
        try:
            yield
        except DataMissingError:
            raise
        except DataProblemsError as error:
            self._found += error.problems
        except BenchError as error:
            self._found.append(Problem("", error.message, error.hint))

    def raise_any(self) -> None:
        """Raise all problems together, if there are any.

        Raises:
            DataProblemsError: There are.
        """
        if self._found:
            raise DataProblemsError(tuple(self._found))
