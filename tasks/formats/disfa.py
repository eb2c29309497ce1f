"""DISFA: action-unit intensities per video frame (Mavadati et al., 2013).

Layout under the root:

    ActionUnit_Labels/SN001/SN001_au12.txt   lines `frame,intensity`, frame 1-based, intensity 0 to 5
    frames/SN001/00001.jpg                   frames numbered as in the labels; gaps are fine
    exclude.csv                              optional: frames that are left out, by subject and range

Labels are joined to frames by number, never by position, and the action unit is read from the
file's name, so neither the order of a folder nor a stride can shift a label.

`exclude.csv` takes the place of the list that ships here, `disfa_exclusions.csv`:

    subject,first,last,reason
    SN029,4330,4536,"landmarks are wrong (issue 3 of EvelynFan/FAU)"

Numbers are the labels' (from 1), both ends included. A file with nothing but the header leaves out nothing.
The one range that ships is known for wrong landmarks, so faces that were cropped by them are wrong too.
SN031's frame 3631 isn't listed: only its landmark file is missing, and no landmark is read here.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.action_units import LabelFile, LabelSet
from comface_bench.tasks.formats.files import (
    and_more,
    counted,
    find_folder,
    list_folder,
    numbered_lines,
    reject_images,
)
from comface_bench.tasks.formats.numbers import parse_number

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
    excluded: dict[str, dict[int, str]] = defaultdict(dict)
    for exclusion in read_exclusions(root, LABEL_LINES, problems):
        excluded[exclusion.subject] |= dict.fromkeys(exclusion.frames, exclusion.reason)
    loose = list_folder(frames)[1]
    reject_images(
        frames, loose, "an image outside of a subject's folder", "Put it where it belongs.", problems
    )
    rendered = (root.parent / _ABOUT_RENDERED).is_file()
    label_folders, frame_folders = (find_subjects(folder, problems, rendered) for folder in (labels, frames))
    label_set: LabelSet[int] = LabelSet("frame", _parse_label_file, problems)
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
    if missing := [subject for subject in LABEL_LINES if subject not in {**label_folders, **frame_folders}]:
        yield Note(f"{len(missing)} of DISFA's 27 subjects aren't there: {', '.join(missing)}")
    problems.raise_any()


def _parse_label_file(file: LabelFile[int]) -> None:
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
        frame = _whole(cells[0])
        if len(cells) != 2 or not cells[1] or frame is None:
            file.reject_line(number, line, "`frame,intensity` such as 12,3", number == lines[-1][0])
        elif frame == 0:
            remedy = "Add one to every frame number of the subject, if its lines begin with the first frame."
            file.mistakes.add("zero", f"{file.path}:{number}", "frame 0; frames count from 1", remedy)
        else:
            file.add_label(number, frame, f"frame {frame}", cells[1])


def _whole(text: str) -> int | None:
    """Return the whole number, 0 or more, that a text writes, perhaps with decimals: 12, 12.0 or 1.2e+01."""
    number = parse_number(text)
    return (
        int(number) if number is not None and 0 <= number <= 999_999_999 and number == int(number) else None
    )


def _note_differences(lines: Mapping[str, int], unmatched: list[str]) -> Iterator[Note]:
    """Yield notes on differences from the published data set that are no mistakes."""
    other = {subject: count for subject, count in lines.items() if count not in (0, LABEL_LINES.get(subject))}
    if other:
        counts = set(other.values())
        listed = [f"{subject} {count:,}" for subject, count in other.items()]
        yield Note(
            f"label files of {counted(len(other), 'subject')} hold other than the published 4,845 lines"
            f" (SN010: 4,844): {f'{counts.pop():,} each' if len(counts) == 1 else ', '.join(listed)}"
        )
    if unmatched:
        yield Note(f"labels without frames, left out: {', '.join(unmatched)}")


LABEL_LINES: Mapping[str, int] = {
    f"SN{number:03d}": 4844 if number == 10 else 4845
    for number in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
}
"""The 27 subjects and the published number of lines in each of their label files; 130,814 in all.

Counted on the lists of CVI-SZU/ME-GraphAU (`data/DISFA/list`, commit dda53cb).
"""

_FRAME = re.compile(r"([0-9]{1,9})\.(?:jpe?g|png)", re.IGNORECASE)


_ABOUT_RENDERED = "synthfaces.json"
"""Lies beside the folder of a set that `synth render` made."""

_RENDERED = re.compile(r"SN[1-9][0-9]{2}")
"""People of such a set beyond DISFA's 27."""


def find_subjects(folder: Path, problems: ProblemList, rendered: bool = False) -> dict[str, Path]:
    """Return the folders of known subjects, sorted.

    Args:
        folder: Where they lie.
        rendered: Whether they may be of a rendered set, which has as many people as were asked for.
        problems: Receives every other folder that isn't hidden, as its contents would be ignored silently.
    """
    found = {}
    for path in list_folder(folder)[0]:
        if path.name in LABEL_LINES or (rendered and _RENDERED.fullmatch(path.name)):
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
    reject_images(folder, other, "not the name or ending of a frame", rule, problems)
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


EXCLUSION_COLUMNS = ("subject", "first", "last", "reason")
"""Header of the list."""

_SHIPPED = Path(__file__).with_name("disfa_exclusions.csv")


@dataclass(frozen=True)
class Exclusion:
    """Frames of a subject that are left out.

    Attributes:
        subject: Whose.
        frames: Their numbers.
        reason: Why.
    """

    subject: str
    frames: range
    reason: str


def read_exclusions(root: Path, subjects: Collection[str], problems: ProblemList) -> list[Exclusion]:
    """Read a data set's own list of exclusions, or the one that ships if it has none.

    Args:
        root: Folder of the data set.
        subjects: All subjects that may be named.
        problems: Receives rows that can't be used.
    """
    own = root / "exclude.csv"
    path = own if own.is_file() else _SHIPPED
    found: list[Exclusion] = []
    with problems.collect():
        found += _parse_list(path, subjects, problems)
    return found


def _parse_list(path: Path, subjects: Collection[str], problems: ProblemList) -> list[Exclusion]:
    lines = list(numbered_lines(path))
    header = _cells(lines[0][1]) if lines else []
    if header != list(EXCLUSION_COLUMNS):
        problems.add(
            f"{path}:{lines[0][0] if lines else 1}",
            f"the header is {','.join(header)!r}, not {','.join(EXCLUSION_COLUMNS)!r}",
            f"Write the header {','.join(EXCLUSION_COLUMNS)}; a file of nothing else leaves out no frame.",
        )
        return []
    found = []
    for number, line in lines[1:]:
        exclusion = _parse_exclusion(line, subjects)
        if isinstance(exclusion, str):
            problems.add(
                f"{path}:{number}", exclusion, 'Write rows like SN029,4330,4536,"reason"; ends are included.'
            )
        else:
            found.append(exclusion)
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


def _parse_exclusion(line: str, subjects: Collection[str]) -> Exclusion | str:
    """Return the exclusion of a row, or the mistake in it."""
    cells = _cells(line)
    if len(cells) != len(EXCLUSION_COLUMNS):
        return f"{len(cells)} cells, but the header has {len(EXCLUSION_COLUMNS)}"
    subject, first, last, reason = cells
    if subject not in subjects:
        return f"no subject is called {subject!r}"
    for name, cell in (("first", first), ("last", last)):
        if not (cell.isascii() and cell.isdecimal() and int(cell)):
            return f"{name} is {cell!r}, not a frame number from 1"
    if int(first) > int(last):
        return f"the range ends at {last}, before it begins at {first}"
    if not reason:
        return "the reason is empty"
    return Exclusion(subject, range(int(first), int(last) + 1), reason)
