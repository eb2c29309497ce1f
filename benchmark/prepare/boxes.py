"""`boxes.csv`: detections, one line per image that was searched for faces.

Lines are appended as the work goes on. A line that a kill cut short is dropped at the next start.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from comface_bench.core.errors import DataFormatError
from comface_bench.core.files import replace_file
from comface_bench.prepare.faces import Box

NAME = "boxes.csv"
FACES = "faces.csv"
COLUMNS = ("source", "frame", "faces", "x", "y", "width", "height", "score")


@dataclass(frozen=True)
class Detection:
    """Faces found in one image.

    Attributes:
        count: Number of faces.
        box: The face, if there is exactly one.
    """

    count: int
    box: Box | None

    @property
    def problem(self) -> str:
        """`no face` or `several faces`; empty if there is exactly one."""
        return "" if self.box else "several faces" if self.count else "no face"

    @classmethod
    def from_boxes(cls, boxes: list[Box]) -> Detection:
        """Keep the box of a single face; of several, none is chosen."""
        return cls(len(boxes), boxes[0] if len(boxes) == 1 else None)


class BoxFile:
    """Reads what is there and appends to it.

    Use as a context manager.

    Args:
        target: Folder that is prepared.

    Raises:
        DataFormatError: A whole line can't be read.
    """

    def __init__(self, target: Path) -> None:
        self._path = target / NAME
        self._found: dict[str, dict[int, Detection]] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content or not whole:
            whole = whole or (",".join(COLUMNS) + "\n").encode()
            replace_file(self._path, whole)
        for number, cells in enumerate(csv.reader(io.StringIO(whole.decode())), start=1):
            if number > 1:
                self._take(cells, number)
        self._stream = self._path.open("a", encoding="utf-8", newline="")

    def _take(self, cells: list[str], number: int) -> None:
        try:
            source, frame, count, *numbers = cells
            box = Box(*(float(part) for part in numbers)) if int(count) == 1 else None
            self._found.setdefault(source, {})[int(frame)] = Detection(int(count), box)
        except (ValueError, TypeError) as error:
            raise DataFormatError(
                f"{self._path}:{number}: not a line of this file", "Name another data root: --data DIR"
            ) from error

    def __enter__(self) -> BoxFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def of(self, source: str) -> dict[int, Detection]:
        """Return the detections in one source, by frame number."""
        return self._found.setdefault(source, {})

    def rows(self) -> list[tuple[str, int, Detection]]:
        """Return source, frame and detection, in order of source and frame."""
        return [
            (source, frame, found)
            for source, frames in sorted(self._found.items())
            for frame, found in sorted(frames.items())
        ]

    def add(self, source: str, frame: int, found: Detection) -> None:
        """Append one line."""
        box = found.box
        numbers = (box.x, box.y, box.width, box.height, box.score) if box else ("",) * 5
        csv.writer(self._stream, lineterminator="\n").writerow((source, frame, found.count, *numbers))
        self._stream.flush()
        self.of(source)[frame] = found


def write_faces(target: Path, header: tuple[str, str], rows: list[tuple[str, int, Detection]]) -> None:
    """Write `faces.csv`: the images that were left out because they show no face, or several.

    Args:
        target: Folder that is prepared.
        header: Names of the first two columns.
        rows: Source, frame, and its detection; those with one face are left out.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*header, "problem", "faces"))
    writer.writerows((*row, found.problem, found.count) for *row, found in rows if found.problem)
    replace_file(target / FACES, stream.getvalue().encode())
