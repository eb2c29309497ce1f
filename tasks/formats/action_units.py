"""Label files of action units: one file a unit, each key (a frame or an image) with an intensity."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.files import RepeatedProblems, and_more, counted, list_folder

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
"""The action units that DISFA and DISFA+ code."""

INTENSITIES = range(6)
"""0 (not present) to 5 (maximum)."""

RAW_LABELS = "Take the raw labels, 0 to 5, as the data set's authors give them out."
"""Remedy for intensities of another kind."""

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.0*)?(?:e\+?00)?", re.IGNORECASE)
"""Whole numbers, as programs write them that know only decimals: 2, 2.0 or 2.000e+00."""

Key = TypeVar("Key", int, str)


class LabelFile(Generic[Key]):
    """Intensities of one action unit as one file has them.

    Attributes:
        path: The file.
        table: Key → intensity, 0 to 5.
        values: All whole numbers that stand as intensities, those that aren't within 0 to 5 as well.
        mistakes: Lines that can't be used.
        outside: Lines whose whole number isn't within 0 to 5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table: dict[Key, int] = {}
        self.values: set[int] = set()
        self.mistakes = RepeatedProblems("line")
        self.outside = RepeatedProblems("line")

    @property
    def whole(self) -> bool:
        """Every line could be used."""
        return not (self.mistakes or self.outside)

    def add_label(self, line: int, key: Key, name: str, text: str) -> None:
        """Add one label, or record why it can't be used.

        Args:
            line: 1-based number of its line.
            key: Frame or image of the label.
            name: Name of the key in messages, such as `frame 12`.
            text: The intensity.
        """
        where = f"{self.path}:{line}"
        if key in self.table:
            self.mistakes.add("twice", where, f"{name} stands twice", "Keep the line that is right.")
        elif not _WHOLE_NUMBER.fullmatch(text):
            message = f"intensity {text} isn't a whole number from 0 to 5"
            self.mistakes.add("number", where, message, RAW_LABELS)
        else:
            value = int(float(text))
            self.values.add(value)
            if value in INTENSITIES:
                self.table[key] = value
            else:
                self.outside.add(str(value), where, f"intensity {value} isn't within 0 to 5", RAW_LABELS)

    def reject_line(self, line: int, text: str, expected: str, last: bool) -> None:
        """Record a line that isn't of the form of a label.

        Args:
            line: Its 1-based number.
            text: The line.
            expected: The form, with an example.
            last: It is the last line; without a line end it has been cut off.
        """
        where = f"{self.path}:{line}"
        if last and not self.mistakes and self.path.read_bytes()[-1:] not in (b"\n", b"\r"):
            message = f"the file ends in the middle of a line: {text!r}"
            self.mistakes.add("cut", where, message, "The file is cut off: copy it again from the original.")
        else:
            message = f"expected {expected}, found {text!r}"
            self.mistakes.add("form", where, message, "Write one label a line, and nothing behind it.")


_FILE = re.compile(r"(?:(SN\d{3})_)?au(\d+)\.txt", re.IGNORECASE)
_BINARY = frozenset((-1, 0, 1))


class LabelSet(Generic[Key]):
    """Reads the label files of a data set, folder by folder, and judges them together.

    Args:
        what: Noun for the labelled items: `frame` or `image`.
        parse: Fills a label file from its lines.
        problems: Receives everything that is wrong.
    """

    def __init__(self, what: str, parse: Callable[[LabelFile[Key]], None], problems: ProblemList) -> None:
        self._what = what
        self._parse: Callable[[LabelFile[Key]], None] = parse
        self._problems = problems
        self._values: set[int] = set()
        self._outside: list[LabelFile[Key]] = []
        self._first: Path | None = None

    def read(self, folder: Path, subject: str) -> dict[int, LabelFile[Key]]:
        """Read a folder's label files; the unit is taken from each file's name.

        Args:
            folder: Where the 12 files lie.
            subject: Whose labels they are.

        Returns:
            Action unit → its file, in ascending order; missing ones are reported and left out.
        """
        files: dict[int, LabelFile[Key]] = {}
        for unit, path in sorted(self._find(folder, subject).items()):
            self._first = self._first or path
            file: LabelFile[Key] = LabelFile(path)
            with self._problems.collect():
                self._parse(file)
                files[unit] = file
        for file in files.values():
            file.mistakes.report_to(self._problems)
            self._values |= file.values
            if file.outside:
                self._outside.append(file)
        self._compare_keys([file for file in files.values() if file.whole])
        return files

    def join(
        self,
        folder: Path,
        place: str,
        facts: Mapping[str, str],
        names: Mapping[Key, str],
        files: Mapping[int, LabelFile[Key]],
    ) -> Iterator[dict[str, Any]]:
        """Yield a row for each image that has all labels; report, once, those without any.

        Args:
            folder: Where the images lie.
            place: The same, relative to the data set's folder.
            facts: Columns that all rows have in common: subject, session.
            names: Key → name of its file, in the order of rows.
            files: Label files of the same subject or trial, as `read` returns them.
        """
        tables = [(f"au{unit}", file.table) for unit, file in files.items()]
        if not tables:
            return
        common = set(tables[0][1]).intersection(*(table for _, table in tables[1:]))
        for key, name in names.items():
            if key in common:
                row: dict[str, Any] = {"image": f"{place}/{name}", "frame": key, **facts}
                for column, table in tables:
                    row[column] = table[key]
                yield row
        # A file with mistakes lacks labels because of them, which has been reported.
        if all(file.whole for file in files.values()):
            known = set().union(*(table for _, table in tables))
            if unlabelled := [key for key in names if key not in known]:
                self._problems.add(
                    folder / names[unlabelled[0]],
                    f"{self._what} {unlabelled[0]} has no label{and_more(len(unlabelled) - 1, self._what)}",
                    f"Name {self._what}s as the label files do; take out what has no label.",
                )

    def finish(self) -> None:
        """Report binarised labels, which only all label files together show."""
        if self._values and self._values <= _BINARY:
            found = ", ".join(map(str, sorted(self._values)))
            self._problems.add(
                self._first,
                f"this and all other label files hold only {found}: they seem binarised (1 for 2 or more)",
                f"Binarised labels can't serve. {RAW_LABELS}",
            )
        else:
            for file in self._outside:
                file.outside.report_to(self._problems)

    def _find(self, folder: Path, subject: str) -> dict[int, Path]:
        found: dict[int, Path] = {}
        listed = ", ".join(map(str, ACTION_UNITS))
        for name in list_folder(folder)[1]:
            if not (match := _FILE.fullmatch(name)):
                continue
            path, unit = folder / name, int(match[2])
            if match[1] and match[1].upper() != subject:
                message = f"labels of {match[1]} in a folder of {subject}"
                self._problems.add(path, message, "Put them into their own folder.")
            elif unit not in ACTION_UNITS:
                message = f"AU{unit} isn't coded in this data set"
                self._problems.add(path, message, f"Take it out; the coded units are {listed}.")
            elif unit in found:
                message = f"AU{unit} is there twice, also as {found[unit].name}"
                self._problems.add(path, message, "Keep the right file.")
            else:
                found[unit] = path
        if missing := [f"au{unit}" for unit in ACTION_UNITS if unit not in found]:
            self._problems.add(
                folder,
                f"no label file of {', '.join(missing)}",
                f"All 12 action units are needed, as {subject}_au1.txt or au1.txt and so on.",
            )
        return found

    def _compare_keys(self, files: list[LabelFile[Key]]) -> None:
        """Name the files that hold other keys than most files beside them."""
        if all(file.table.keys() == files[0].table.keys() for file in files):
            return
        common = Counter(frozenset(file.table) for file in files).most_common(1)[0][0]
        for file in files:
            parts = (
                (common - file.table.keys(), "lacks {} that the files beside it have, the first {}"),
                (file.table.keys() - common, "has {} that the files beside it lack, the first {}"),
            )
            found = [text.format(counted(len(keys), self._what), min(keys)) for keys, text in parts if keys]
            if found:
                self._problems.add(
                    file.path,
                    "; ".join(found),
                    f"Copy it again from the original; the 12 label files cover the same {self._what}s.",
                )
