"""Label files of action units: one file a unit, each key (a frame or an image) with an intensity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Generic, TypeVar

from comface_bench.tasks.formats.repeats import RepeatedMistakes

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
"""The action units that DISFA and DISFA+ code."""

INTENSITIES = range(6)
"""0 (not present) to 5 (maximum)."""

RAW_LABELS = "Take the raw labels, 0 to 5, as the data set's authors give them out."
"""Remedy for intensities of another kind."""

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")

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
        self.mistakes = RepeatedMistakes("line")
        self.outside = RepeatedMistakes("line")

    @property
    def whole(self) -> bool:
        """Every line could be used."""
        return not (self.mistakes or self.outside)

    def add_label(self, line: int, key: Key, name: str, text: str) -> None:
        """Add one label, or note down why it can't be used.

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
            value = int(text)
            self.values.add(value)
            if value in INTENSITIES:
                self.table[key] = value
            else:
                self.outside.add(str(value), where, f"intensity {value} isn't within 0 to 5", RAW_LABELS)

    def reject_line(self, line: int, text: str, expected: str, last: bool) -> None:
        """Note down a line that isn't of the form of a label.

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
