"""DISFA: action-unit intensities per video frame (Mavadati et al., 2013).

Layout under the root:

    ActionUnit_Labels/SN001/SN001_au12.txt   lines `frame,intensity`, frame 1-based, intensity 0 to 5
    frames/SN001/00001.jpg                   frames numbered as in the labels; gaps are fine
    exclude.csv                              optional, see `disfa_exclusions`

Labels are joined to frames by number, never by position, and the action unit is read from the
file's name, so neither the order of a folder nor a stride can shift a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.action_units import LabelFile
from comface_bench.tasks.formats.disfa_exclusions import read_exclusions
from comface_bench.tasks.formats.disfa_frames import LINES, find_subjects, number_frames
from comface_bench.tasks.formats.folders import find_folder, list_folder, refuse_images
from comface_bench.tasks.formats.label_set import LabelSet
from comface_bench.tasks.formats.lines import numbered_lines
from comface_bench.tasks.formats.repeats import counted

LABEL_FOLDERS = ("ActionUnit_Labels", "ActionUnits", "ActionUnit", "labels")
"""Spellings of the labels' folder, in any case; the first is the authors'."""

_CLEAN = re.compile(rb"(?:[0-9]{1,9},[0-5]\r?\n)*+(?:[0-9]{1,9},[0-5])?\s*")
_LAYOUT = "Lay the data set out as docs/datasets/disfa.md shows."
_PREPARE = "Make frames of the videos: comface-bench data prepare disfa; docs/datasets/disfa.md says how."


def read_disfa(root: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per frame: image, subject, and the labels au1 … au26; and notes on what is left out.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no folder of labels or of frames.
        DataProblemsError: At the end, everything that is wrong, by file and line.
    """
    problems = ProblemList()
    labels = find_folder(root, LABEL_FOLDERS, problems, _LAYOUT)
    frames = find_folder(root, ("frames",), problems, _PREPARE)
    excluded: dict[str, dict[int, str]] = {subject: {} for subject in LINES}
    for exclusion in read_exclusions(root, LINES, problems):
        excluded[exclusion.subject] |= dict.fromkeys(exclusion.frames, exclusion.reason)
    loose = list_folder(frames)[1]
    refuse_images(
        frames, loose, "an image outside of a subject's folder", "Put it where it belongs.", problems
    )
    label_folders, frame_folders = find_subjects(labels, problems), find_subjects(frames, problems)
    label_set: LabelSet[int] = LabelSet("frame", _parse, problems)
    lines: dict[str, int] = {}
    for subject, folder in list(frame_folders.items()):
        found = number_frames(folder, problems)
        reasons = [excluded[subject][frame] for frame in found if frame in excluded[subject]]
        if reasons:
            listed = "; ".join(dict.fromkeys(reasons))
            yield Note(f"{subject}: {counted(len(reasons), 'frame')} excluded: {listed}")
        if not found:
            del frame_folders[subject]
        elif subject not in label_folders:
            message = f"{frames.name}/{subject} has frames, but there are no labels for them"
            problems.add(labels / subject, message, _LAYOUT)
        else:
            files = label_set.read(label_folders[subject], subject)
            lines[subject] = max((len(file.table) for file in files.values() if file.whole), default=0)
            names = {frame: name for frame, name in found.items() if frame not in excluded[subject]}
            place = folder.relative_to(root).as_posix()
            yield from label_set.join(folder, place, {"subject": subject}, names, files)
    label_set.finish()
    yield from _note_differences(lines, sorted(label_folders.keys() - frame_folders.keys()))
    if missing := [subject for subject in LINES if subject not in {**label_folders, **frame_folders}]:
        yield Note(f"{len(missing)} of DISFA's 27 subjects aren't there: {', '.join(missing)}")
    problems.raise_any()


def _parse(file: LabelFile[int]) -> None:
    """Fill a label file from lines `frame,intensity`."""
    content = file.path.read_bytes()
    # Nearly every file is clean; one by one, DISFA's 1.6 million lines would take seconds.
    if _CLEAN.fullmatch(content):
        numbers = list(map(int, content.replace(b",", b" ").split()))
        table = dict(zip(numbers[::2], numbers[1::2], strict=True))
        if 2 * len(table) == len(numbers) and 0 not in table:
            file.table, file.values = table, set(table.values())
            return
    lines = list(numbered_lines(file.path))
    for number, line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        frame = cells[0]
        if len(cells) != 2 or not cells[1] or not (frame.isascii() and frame.isdecimal()):
            file.reject_line(number, line, "`frame,intensity` such as 12,3", number == lines[-1][0])
        elif int(frame) == 0:
            remedy = "Add one to every frame number of the subject, if its lines begin with the first frame."
            file.mistakes.add("zero", f"{file.path}:{number}", "frame 0; frames count from 1", remedy)
        else:
            file.add_label(number, int(frame), f"frame {int(frame)}", cells[1])


def _note_differences(lines: Mapping[str, int], idle: list[str]) -> Iterator[Note]:
    """Yield notes on differences from the published data set that are no mistakes."""
    other = {subject: count for subject, count in lines.items() if count not in (0, LINES[subject])}
    if other:
        counts = set(other.values())
        listed = [f"{subject} {count:,}" for subject, count in other.items()]
        yield Note(
            f"label files of {counted(len(other), 'subject')} hold other than the published 4,845 lines"
            f" (SN010: 4,844): {f'{counts.pop():,} each' if len(counts) == 1 else ', '.join(listed)}"
        )
    if idle:
        yield Note(f"labels without frames, left out: {', '.join(idle)}")
