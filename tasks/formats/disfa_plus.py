"""DISFA+: action-unit intensities of ready-made images, several trials a subject (Mavadati et al., 2016).

Layout under the root:

    Images/SN001/<trial>/001.jpg    images, named as in the labels
    Labels/SN001/<trial>/AU1.txt    two header lines, then `image-name intensity`, intensity 0 to 5

Unlike in DISFA, the key is the image's name. An ending in the labels (`001.jpg`) doesn't have to be that
of the file, and case doesn't matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.action_units import LabelFile, LabelSet
from comface_bench.tasks.formats.files import (
    IMAGE_ENDINGS,
    find_folder,
    image_stem,
    list_folder,
    name_images,
    numbered_lines,
    reject_images,
)

_HEADER_LINES = 2
_SUBJECT = re.compile(r"SN\d{3}")
_LAYOUT = "Lay the data set out as docs/datasets/disfaplus.md shows."


def read_disfa_plus(root: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per image: image, subject, session (the trial), and the labels au1 … au26; and notes.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no folder of images or of labels.
        DataProblemsError: At the end, everything that is wrong, by file and line.
    """
    problems = ProblemList()
    labels = find_folder(root, ("Labels",), problems, _LAYOUT)
    images = find_folder(root, ("Images",), problems, _LAYOUT)
    label_set: LabelSet[str] = LabelSet("image", _parse, problems)
    label_trials, image_trials = _trials(labels, problems), _trials(images, problems)
    for (subject, trial), folder in image_trials.items():
        found = name_images(folder, problems)
        if (subject, trial) not in label_trials:
            if found:
                problems.add(
                    labels / subject / trial,
                    f"{folder} has images, but there are no labels for them",
                    _LAYOUT,
                )
            continue
        files = label_set.read(label_trials[subject, trial], subject)
        place = folder.relative_to(root).as_posix()
        yield from label_set.join(folder, place, {"subject": subject, "session": trial}, found, files)
    label_set.finish()
    if unmatched := [f"{subject}/{trial}" for subject, trial in label_trials.keys() - image_trials.keys()]:
        yield Note(f"labels without images, left out: {', '.join(sorted(unmatched))}")
    problems.raise_any()


def _trials(folder: Path, problems: ProblemList) -> dict[tuple[str, str], Path]:
    """Return the folders of all trials, by subject and trial."""
    found: dict[tuple[str, str], Path] = {}
    subjects, loose = list_folder(folder)
    reject_images(folder, loose, "an image outside of a trial's folder", "Put it where it belongs.", problems)
    for subject in subjects:
        if not _SUBJECT.fullmatch(subject.name):
            problems.add(
                subject, "not the name of a subject", "Name it like SN001, or move it to somewhere else."
            )
            continue
        trials, loose = list_folder(subject)
        reject_images(
            subject, loose, "an image outside of a trial's folder", "Put it where it belongs.", problems
        )
        found |= {(subject.name, trial.name): trial for trial in trials}
    return found


def _parse(file: LabelFile[str]) -> None:
    """Fill a label file from lines `image-name intensity` behind the header."""
    lines = list(numbered_lines(file.path))
    for number, line in lines:
        cells = line.split()
        if number <= _HEADER_LINES:
            if len(cells) == 2 and cells[0].lower().endswith(IMAGE_ENDINGS):
                file.mistakes.add(
                    "header",
                    f"{file.path}:{number}",
                    f"{line!r} is a label where the header belongs",
                    "The first two lines are a header; labels begin in line 3.",
                )
        elif len(cells) == 2:
            file.add_label(number, image_stem(cells[0]), f"image {cells[0]}", cells[1])
        else:
            file.reject_line(number, line, "`image-name intensity` such as 001.jpg 3", number == lines[-1][0])
