"""DISFA's label files beside the videos, and the number that they give to each frame of a video.

Label t belongs to the t-th moment of the video's clock. A frame that was dropped when it was filmed keeps its
number, so that no later label shifts. Where the times of a video can't tell, its frames are counted, and
only if there are as many as labels.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from comface_bench.core.errors import DataFormatError
from comface_bench.core.files import writing
from comface_bench.prepare.video import Timeline
from comface_bench.tasks.formats.disfa import LABEL_FOLDERS, LABEL_LINES
from comface_bench.tasks.formats.files import counted, numbered_lines

_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_UNIT = re.compile(r".*au\d+\.txt", re.IGNORECASE)


def find_labels(root: Path) -> Path | None:
    """Return the folder of labels under a folder, in any case, if there is one."""
    if not root.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name.lower()] for name in LABEL_FOLDERS if name.lower() in there), None)


def copy_labels(source: Path, target: Path) -> bool:
    """Copy the label files, unless the target has some; return True if it has labels afterwards."""
    if find_labels(target):
        return True
    part = target / f".{LABEL_FOLDERS[0]}.part"
    shutil.rmtree(part, ignore_errors=True)
    for name, path in _label_files(source):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        with writing(part / name):
            shutil.copyfile(path, part / name)
    if not part.exists():
        return False
    part.rename(target / LABEL_FOLDERS[0])
    return True


def differing_labels(source: Path, target: Path) -> list[str]:
    """Return the source's label files, `SN001/au1.txt`, that the target lacks or has with other contents."""
    mine = dict(_label_files(target))
    return [
        name
        for name, path in _label_files(source)
        if name not in mine or mine[name].read_bytes() != path.read_bytes()
    ]


def _label_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the label files under a folder, by their names in the layout that is made."""
    labels = find_labels(root)
    for folder in sorted(labels.iterdir()) if labels else ():
        if _SUBJECT.fullmatch(folder.name) and folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() == ".txt" and not path.name.startswith("."):
                    yield f"{folder.name.upper()}/{path.name}", path


def expected_frames(root: Path, subject: str) -> int:
    """Return how many frames a subject's video should have: the labels' last, else the published number.

    Raises:
        DataFormatError: A label file isn't text.
    """
    folder = (find_labels(root) or root) / subject
    files = sorted(path for path in folder.glob("*.txt") if _UNIT.fullmatch(path.name))
    return max((_last_frame(path) for path in files), default=0) or LABEL_LINES[subject]


def _last_frame(path: Path) -> int:
    """Return the highest frame number of a label file; the number of its lines if they hold none."""
    lines = [line for _, line in numbered_lines(path)]
    numbers = [line.partition(",")[0].strip() for line in lines]
    return max((int(number) for number in numbers if number.isdecimal()), default=len(lines))


Numbering = Literal["time", "count"]
"""How frames get their numbers: by the time at which they are shown, or one after the other."""


def number_frames(
    video: Path, timeline: Timeline, labels: int, numbering: Numbering
) -> tuple[list[int], list[str]]:
    """Return the number of each frame, from 1 as in the labels, and what its user must know about them.

    Args:
        video: Named in messages.
        timeline: Of the video.
        labels: Number of labels: that of the last frame that has one.
        numbering: `count` passes over the times.

    Raises:
        DataFormatError: The times don't tell the numbers, or the labels contradict them.
    """
    frames = counted(timeline.count, "frame")
    if numbering == "count":
        return _count(timeline), _compare(video, timeline.count, labels)
    remedy = (
        "If the labels count the frames that the video holds, number them so: --numbering count"
        "\nElse get the video as its owners give it out: a converted copy loses or doubles frames."
    )
    if timeline.doubt:
        if timeline.count != labels:
            raise DataFormatError(
                f"{video}: which labels its frames have can't be told: {timeline.doubt},"
                f" and there are {frames} for {labels:,} labels",
                remedy,
            )
        why = f"since {timeline.doubt}; there are as many as labels, {labels:,}"
        return _count(timeline), [f"{video}: the frames are numbered by counting, {why}"]
    if timeline.gaps and timeline.length != labels == timeline.count:
        raise DataFormatError(
            f"{video}: by its times it lacks {_name_gaps(timeline)}, but there are as many labels as frames"
            f" are left, {labels:,}",
            remedy,
        )
    remarks = _compare(video, timeline.length, labels)
    if timeline.gaps:
        dropped = counted(timeline.length - timeline.count, "frame")
        remarks.insert(
            0, f"{video}: {dropped} dropped when it was filmed, so without an image: {_name_gaps(timeline)}"
        )
    return [place + 1 for place in timeline.places], remarks


def _count(timeline: Timeline) -> list[int]:
    return list(range(1, timeline.count + 1))


def _name_gaps(timeline: Timeline) -> str:
    """Return the numbers of the frames that were dropped: `21 to 25, 41`."""
    named = [
        f"{first + 1}" if first == last else f"{first + 1} to {last + 1}" for first, last in timeline.gaps
    ]
    more = len(named) - 20
    return ", ".join(named[:20]) + (f" and {more} more stretches" if more > 0 else "")


def _compare(video: Path, last: int, labels: int) -> list[str]:
    if last == labels:
        return []
    return [
        f"{video}: the last frame is number {last:,}, the last label's {labels:,}; compare the video with its"
        " owners' copy, since one that was converted loses or doubles frames, and shifts every label"
    ]
