"""DISFA's label files: copied beside the frames, and counted against the video."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from comface_bench.tasks.formats.disfa import LABEL_FOLDERS
from comface_bench.tasks.formats.disfa_frames import LINES
from comface_bench.tasks.formats.lines import numbered_lines

_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_UNIT = re.compile(r".*au\d+\.txt", re.IGNORECASE)


def find_labels(root: Path) -> Path | None:
    """Return the folder of labels under a folder, in any case, if there is one."""
    if not root.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name.lower()] for name in LABEL_FOLDERS if name.lower() in there), None)


def copy_labels(source: Path, target: Path) -> bool:
    """Copy the label files, unless the target has some; says whether it has labels afterwards."""
    if find_labels(target):
        return True
    if not (labels := find_labels(source)):
        return False
    part = target / f".{LABEL_FOLDERS[0]}.part"
    shutil.rmtree(part, ignore_errors=True)
    for folder in sorted(path for path in labels.iterdir() if _SUBJECT.fullmatch(path.name)):
        copy = part / folder.name.upper()
        copy.mkdir(parents=True)
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == ".txt" and not path.name.startswith("."):
                shutil.copyfile(path, copy / path.name)
    if not part.exists():
        return False
    part.rename(target / LABEL_FOLDERS[0])
    return True


def expected_frames(root: Path, subject: str) -> int:
    """Return how many frames a subject's video should have: the lines of a label file, else as published.

    Raises:
        DataFormatError: A label file isn't text.
    """
    folder = (find_labels(root) or root) / subject
    files = sorted(path for path in folder.glob("*.txt") if _UNIT.fullmatch(path.name))
    if files:
        return max(sum(1 for _ in numbered_lines(path)) for path in files)
    return LINES[subject]
