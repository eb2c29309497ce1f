"""DISFA: action-unit intensities per video frame (Mavadati et al., 2013).

Layout under the root:

    ActionUnit_Labels/SN001/SN001_au12.txt   lines `frame,intensity`, frame 1-based, intensity 0 to 5
    frames/SN001/00001.jpg                   frames numbered as in the labels; gaps are fine

Labels are joined to frames by number, never by position, and the action unit is read from the
file's name, so neither the order of a folder nor a stride can shift a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.tasks.formats.lines import numbered_lines

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
"""The action units that DISFA codes."""

INTENSITIES = range(6)
"""0 (not present) to 5 (maximum)."""

_FRAME = re.compile(r"(\d+)\.(jpe?g|png)", re.IGNORECASE)
_SUBJECT = re.compile(r"SN\d{3}")


def read_disfa(root: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per frame: image, subject, and the labels au1 … au26.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: A folder or a label file is missing.
        DataFormatError: A label line is malformed, or a frame has no label; names file and line.
    """
    frames, labels = root / "frames", root / "ActionUnit_Labels"
    for folder in (labels, frames):
        if not folder.is_dir():
            raise DataMissingError(
                f"{folder} doesn't exist", "Lay the data set out as docs/datasets.md shows, section DISFA."
            )
    for folder in sorted(path for path in frames.iterdir() if _SUBJECT.fullmatch(path.name)):
        table = {unit: _read_unit(labels / folder.name, unit) for unit in ACTION_UNITS}
        seen: dict[int, str] = {}
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not (match := _FRAME.fullmatch(path.name)):
                continue
            frame = int(match[1])
            if frame in seen:
                raise DataFormatError(f"{path}: frame {frame} is there twice, also as {seen[frame]}")
            seen[frame] = path.name
            row: dict[str, Any] = {"image": path.relative_to(root).as_posix(), "subject": folder.name}
            for unit, intensities in table.items():
                if frame not in intensities:
                    raise DataFormatError(
                        f"{path}: frame {frame} has no line in {folder.name}_au{unit}.txt",
                        "Frame numbers are the labels', which count from 1.",
                    )
                row[f"au{unit}"] = intensities[frame]
            yield row


def _read_unit(folder: Path, unit: int) -> dict[int, int]:
    path = folder / f"{folder.name}_au{unit}.txt"
    if not path.is_file():
        raise DataMissingError(
            f"{path} doesn't exist", "Each subject needs the label files of all 12 action units."
        )
    found: dict[int, int] = {}
    for number, line in numbered_lines(path):
        try:
            frame, intensity = (int(part) for part in line.split(","))
        except ValueError as error:
            raise DataFormatError(f"{path}:{number}: expected `frame,intensity`, found {line!r}") from error
        if frame < 1:
            raise DataFormatError(f"{path}:{number}: frame {frame}; frames count from 1")
        if intensity not in INTENSITIES:
            raise DataFormatError(f"{path}:{number}: intensity {intensity} isn't within 0 to 5")
        if frame in found:
            raise DataFormatError(f"{path}:{number}: frame {frame} stands twice")
        found[frame] = intensity
    return found
