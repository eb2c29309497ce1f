"""DISFA's subjects and frames as they are named on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.folders import list_folder, refuse_images
from comface_bench.tasks.formats.repeats import and_more

LINES: Mapping[str, int] = {
    f"SN{number:03d}": 4844 if number == 10 else 4845
    for number in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
}
"""The 27 subjects and the published number of lines in each of their label files; 130,814 in all.

Counted on the lists of CVI-SZU/ME-GraphAU (`data/DISFA/list`, commit dda53cb).
"""

_FRAME = re.compile(r"([0-9]{1,9})\.(?:jpe?g|png)", re.IGNORECASE)


def find_subjects(folder: Path, problems: ProblemList) -> dict[str, Path]:
    """Return the folders of known subjects, sorted.

    Args:
        folder: Where they lie.
        problems: Receives every other folder that isn't hidden, as its contents would be ignored silently.
    """
    found = {}
    for path in list_folder(folder)[0]:
        if path.name in LINES:
            found[path.name] = path
        else:
            problems.add(
                path,
                f"DISFA has no subject {path.name}",
                "Its subjects are SN001 to SN013, SN016 to SN018, SN021, and SN023 to SN032."
                " Correct the name, or move the folder elsewhere.",
            )
    return found


def number_frames(folder: Path, problems: ProblemList) -> dict[int, str]:
    """Return a subject's frames, number → file name, sorted by number.

    Args:
        folder: Where they lie.
        problems: Receives, once each with a count, images that aren't named by a number, numbers that
            stand twice, and frames that are counted from 0.
    """
    found: dict[int, str] = {}
    twice: list[tuple[int, str]] = []
    other: list[str] = []
    for name in list_folder(folder)[1]:
        match = _FRAME.fullmatch(name)
        if match is None:
            other.append(name)
        elif (frame := int(match[1])) in found:
            twice.append((frame, name))
        else:
            found[frame] = name
    rule = "Name each frame by its number in the label files: 00001.jpg, JPEG or PNG."
    refuse_images(folder, other, "not the name or ending of a frame", rule, problems)
    if twice:
        frame, name = twice[0]
        again = and_more(len(twice) - 1, "frame")
        problems.add(
            folder / name,
            f"frame {frame} is there twice, also as {found[frame]}{again}",
            "Keep one file a frame.",
        )
    if 0 in found:
        problems.add(
            folder / found.pop(0),
            "frame 0, but labels count from 1: all frames of this folder seem to be numbered one too low",
            "Give each file of the folder the next number: the first frame of the video is 00001.jpg.",
        )
    return dict(sorted(found.items()))
