"""UNBC-McMaster shoulder pain archive: pain intensity (PSPI) per video frame (Lucey et al., 2011).

Layout under the root:

    Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png                    subject, sequence, frame
    Frame_Labels/PSPI/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt    one number, 0 to 16

A label belongs to the frame of its name; case doesn't matter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.files import (
    RepeatedProblems,
    counted,
    find_folder,
    list_folder,
    name_images,
    numbered_lines,
    reject_images,
)

PSPI_RANGE = (0.0, 16.0)
"""Smallest and largest score of Prkachin and Solomon's pain scale."""

_ENDING = "_facs.txt"
_LAYOUT = "Lay the data set out as docs/datasets/unbc.md shows."
_COPY = "Copy the file again from the original, or take it out: frames without a label are left out."
_LOOSE = "an image outside of a sequence's folder"


def read_unbc(root: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per labelled frame: image, subject, session (the sequence), and pspi; and notes.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no folder of images or of PSPI labels.
        DataProblemsError: At the end, everything that is wrong, by file and line.
    """
    problems = ProblemList()
    images = find_folder(root, ("Images",), problems, _LAYOUT)
    labels = find_folder(
        find_folder(root, ("Frame_Labels",), problems, _LAYOUT), ("PSPI",), problems, _LAYOUT
    )
    unlabelled: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    frames = 0
    for subject, sequence in _sequences(images, problems):
        found, place = name_images(sequence, problems), sequence.relative_to(root).as_posix()
        seen.add((subject.name, sequence.name))
        files = _label_files(labels / subject.name / sequence.name)
        mistakes = RepeatedProblems("file")
        frames += len(found)
        for key, name in found.items():
            if key not in files:
                unlabelled[subject.name] += 1
                continue
            score = None
            with problems.collect():
                score = _read_score(files[key], mistakes)
            if score is not None:
                yield {
                    "image": f"{place}/{name}",
                    "subject": subject.name,
                    "session": sequence.name,
                    "frame": key,
                    "pspi": score,
                }
        mistakes.report_to(problems)
    if frames and unlabelled.total() == frames:
        problems.add(
            labels,
            f"none of the {counted(frames, 'frame')} has a label here",
            f"Images/SUBJECT/SEQUENCE/FRAME.png goes with PSPI/SUBJECT/SEQUENCE/FRAME{_ENDING}.",
        )
    else:
        for name, count in unlabelled.items():
            yield Note(f"{name}: {counted(count, 'frame')} without a label, left out")
    labelled = ((subject.name, sequence.name) for subject, sequence in _sequences(labels, problems))
    if unmatched := ["/".join(names) for names in labelled if names not in seen]:
        yield Note(f"labels without frames, left out: {', '.join(unmatched)}")
    problems.raise_any()


def _sequences(images: Path, problems: ProblemList) -> Iterator[tuple[Path, Path]]:
    """Yield the folders (subject, sequence)."""
    subjects, loose = list_folder(images)
    reject_images(images, loose, _LOOSE, "Put it where it belongs.", problems)
    for subject in subjects:
        sequences, loose = list_folder(subject)
        reject_images(subject, loose, _LOOSE, "Put it where it belongs.", problems)
        for sequence in sequences:
            yield subject, sequence


def _label_files(folder: Path) -> dict[str, Path]:
    """Return a sequence's label files by the frame's name in lower case."""
    names = list_folder(folder)[1] if folder.is_dir() else []
    return {name[: -len(_ENDING)].lower(): folder / name for name in names if name.lower().endswith(_ENDING)}


def _read_score(path: Path, mistakes: RepeatedProblems) -> float | None:
    """Return the score of one file, or None if it can't be used."""
    lines = list(numbered_lines(path))
    if len(lines) != 1:
        mistakes.add("lines", str(path), f"expected one number, found {counted(len(lines), 'line')}", _COPY)
        return None
    ((number, text),) = lines
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    low, high = PSPI_RANGE
    if math.isnan(score):
        mistakes.add("number", f"{path}:{number}", f"PSPI is {text!r}, not a number", _COPY)
    elif not low <= score <= high:
        message = f"PSPI is {text}, not within {low:g} to {high:g}"
        mistakes.add("range", f"{path}:{number}", message, _COPY)
    else:
        return score
    return None
