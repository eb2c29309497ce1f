"""Boxes of faces that were found, kept in a file, and crops around them.

`boxes.csv` holds the detections, one line per image that was searched for faces. Lines are appended as the
work goes on. A line that a kill cut short is dropped at the next start.

A crop is a square around the box, always of one size. The paper says only that DISFA's crop holds the entire
face and Edema's the centre of the face (supplement, A.2); the numbers are ours. A detector's box reaches from
the brows to the chin.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING

from comface_bench.core.errors import DataFormatError
from comface_bench.core.files import replace_file, writing
from comface_bench.data.faces import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


BOXES_FILE = "boxes.csv"
LEFT_OUT_FILE = "faces.csv"
BOXES_COLUMNS = ("source", "frame", "faces", "x", "y", "width", "height", "score")


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
        self._path = target / BOXES_FILE
        self._found: dict[str, dict[int, Detection]] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content or not whole:
            whole = whole or (",".join(BOXES_COLUMNS) + "\n").encode()
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
        with writing(self._path):
            csv.writer(self._stream, lineterminator="\n").writerow((source, frame, found.count, *numbers))
            self._stream.flush()
        self.of(source)[frame] = found


def write_left_out(target: Path, header: tuple[str, str], rows: list[tuple[str, int, Detection]]) -> None:
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
    replace_file(target / LEFT_OUT_FILE, stream.getvalue().encode())


JPEG_QUALITY = 95
"""JPEG quality of what is written."""

CROP_SIZE = 256
"""Height and width of a crop in pixels: the paper trains at 224, so that no image is enlarged for it."""


@dataclass(frozen=True)
class CropRule:
    """Edges of a crop, in shares of the longer side of the box.

    Attributes:
        margin: Share added on each side.
        lift: Share by which the square is moved up, for the forehead that the box leaves out.
    """

    margin: float
    lift: float = 0.0


ENTIRE_FACE = CropRule(margin=0.3, lift=0.1)
"""DISFA: forehead, ears and chin are inside, also of an open mouth."""

FACE_CENTRE = CropRule(margin=0.0)
"""Edema: the box itself, from the brows to the chin."""


def crop_face(rgb: NDArray[np.uint8], box: Box, rule: CropRule, size: int) -> bytes:
    """Cut a square around a face and return it as a JPEG of `size` × `size` pixels.

    Where the square leaves the image, the pixels of its border are repeated, so that the face keeps
    its place and scale.

    Args:
        rgb: The image, shape (height, width, 3).
        box: The face.
        rule: Context that is kept around the box.
        size: Height and width of the result in pixels.
    """
    import numpy as np
    from PIL import Image

    side = max(box.width, box.height)
    half = side * (0.5 + rule.margin)
    x, y = box.x + box.width / 2, box.y + box.height / 2 - rule.lift * side
    left, top, right, bottom = x - half, y - half, x + half, y + half
    height, width = rgb.shape[:2]
    before_x, before_y = max(0, math.ceil(-left)), max(0, math.ceil(-top))
    after_x, after_y = max(0, math.ceil(right - width)), max(0, math.ceil(bottom - height))
    padded = np.pad(rgb, ((before_y, after_y), (before_x, after_x), (0, 0)), mode="edge")
    edges = (left + before_x, top + before_y, right + before_x, bottom + before_y)
    image = Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=edges)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def smooth_boxes(boxes: Mapping[int, Box], reach: int) -> dict[int, Box]:
    """Replace each box by the median of the boxes at most `reach` frames before or after it.

    A detector that works on a pyramid of sizes jumps by a fifth from one frame to the next; a face doesn't.

    Args:
        boxes: Box by frame number.
        reach: Frames to either side.
    """
    frames, result, first, behind = sorted(boxes), {}, 0, 0
    for frame in frames:
        while frames[first] < frame - reach:
            first += 1
        while behind < len(frames) and frames[behind] <= frame + reach:
            behind += 1
        near = [boxes[other] for other in frames[first:behind]]
        side = median(max(box.width, box.height) for box in near)
        x = median(box.x + box.width / 2 for box in near)
        y = median(box.y + box.height / 2 for box in near)
        result[frame] = Box(x - side / 2, y - side / 2, side, side, boxes[frame].score)
    return result
