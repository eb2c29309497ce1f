"""Edema: from images or videos of sessions to crops of the face's centre, and the table that the tasks read.

Output, under the data root:

    Edema-A/manifest.csv    image,patient,day,phase,weight_kg
    Edema-A/images/…        square crops, one folder per patient and session
    Edema-A/faces.csv       images and frames that were left out: no face was found, or several
    Edema-A/boxes.csv       where the faces are, by file of the source's table
    Edema-A/prepare.json    settings, source files, what is finished
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataMissingError, UsageError
from comface_bench.core.files import replace_file
from comface_bench.core.problems import ProblemList
from comface_bench.data.faces import DlibDetector, FaceDetector
from comface_bench.prepare.faces import (
    BOXES_FILE,
    CROP_SIZE,
    FACE_CENTRE,
    LEFT_OUT_FILE,
    BoxFile,
    CropRule,
    Detection,
    crop_face,
    write_left_out,
)
from comface_bench.prepare.state import PreparationState, Progress, check_folders, ignore
from comface_bench.prepare.video import read_frames, read_timeline
from comface_bench.tasks.formats.edema import COLUMNS, PHASES
from comface_bench.tasks.formats.numbers import ColumnNumbers, parse_number
from comface_bench.tasks.formats.table import Line, read_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Name = Literal["Edema-A", "Edema-B"]

FRAMES = 8
"""Frames taken of each video, evenly spaced: a weight belongs to the session, not to a moment of it."""


@dataclass(frozen=True)
class EdemaReport:
    """Counts of a prepared Edema data set.

    Attributes:
        root: Folder that was prepared.
        patients: Patients in the source's table.
        sessions: Patient, day and phase together.
        files: Images and videos in the source's table.
        looked_at: Images and frames in which faces were looked for.
        written: Those with exactly one face.
        no_face: Those with none, left out.
        several_faces: Those with several, left out.
        sessions_without_image: Sessions of which nothing is left, as `patient day phase`.
    """

    root: str
    patients: int
    sessions: int
    files: int
    looked_at: int
    written: int
    no_face: int
    several_faces: int
    sessions_without_image: list[str]


def prepare_edema(
    source: Path,
    data: Path,
    *,
    name: Name = "Edema-A",
    frames: int = FRAMES,
    size: int = CROP_SIZE,
    margin: float = FACE_CENTRE.margin,
    progress: Progress = ignore,
    detector: FaceDetector | None = None,
) -> EdemaReport:
    """Cut the faces out of images and videos; goes on where an earlier call was cut off.

    Args:
        source: Folder with `manifest.csv`: a column `image` or `video`, or both, and patient, day, phase,
            weight_kg.
        data: Data root; the folder `name` in it is filled.
        name: Name of the data set, Edema-A or Edema-B.
        frames: Frames taken of each video, evenly spaced.
        size: Height and width of the crops in pixels.
        margin: Context kept around the box of a face on each side, in shares of it; negative crops into it.
        progress: Called with (files done, files in all).
        detector: Face detector; dlib's frontal detector by default.

    Raises:
        UsageError: A setting is out of range or differs from an earlier call's, or the target isn't free.
        DataMissingError: There is no table.
        DataFormatError: All that is wrong in the table, before anything is written; or an image or video
            that can't be read.
        MissingExtraError: PyAV (for videos) or dlib isn't installed.
    """
    if frames < 1 or size < 16 or not -0.4 <= margin <= 2:
        raise UsageError(
            f"frames {frames}, size {size}, margin {margin}: expected at least 1, at least 16, and -0.4 to 2"
        )
    target = data / name
    check_folders(source, target, ("images", "manifest.csv", BOXES_FILE, LEFT_OUT_FILE))
    recordings = read_sessions(source)
    finder = detector or DlibDetector()
    rule = CropRule(margin, FACE_CENTRE.lift)
    settings: dict[str, Any] = {"frames": frames, "size": size, "margin": margin, "lift": rule.lift}
    settings["detector"] = finder.describe()
    state = PreparationState(target, "edema", settings)
    state.begin(
        {
            recording.name: {
                "bytes": recording.path.stat().st_size,
                "sha256": digest_file(recording.path),
                "images": recording.image(0),
            }
            for recording in recordings
        }
    )
    with BoxFile(target) as boxes:
        for number, recording in enumerate(recordings):
            progress(number, len(recordings))
            known = {
                frame
                for frame, found in boxes.of(recording.name).items()
                if not found.box or (target / recording.image(frame)).exists()
            }
            done = state.done(recording.name)
            if done and len(known) == done["looked_at"]:
                continue
            for frame, rgb in _read_images(recording, frames, known):
                found = Detection.from_boxes(finder.detect(rgb))
                if found.box:
                    path = target / recording.image(frame)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    replace_file(path, crop_face(rgb, found.box, rule, size))
                # After its image, so that a frame in this file needs no second look.
                boxes.add(recording.name, frame, found)
            if recording.is_video:
                state.finish(recording.name, looked_at=len(boxes.of(recording.name)))
        progress(len(recordings), len(recordings))
        return _write_tables(target, recordings, boxes)


def _read_images(
    recording: Recording, frames: int, known: set[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if not recording.is_video:
        if 0 not in known:
            yield 0, _open_image(recording.path)
        return
    total = read_timeline(recording.path).count
    # The middle of each of `frames` equal parts; a shorter video gives all that it has.
    positions = {(2 * part + 1) * total // (2 * frames) for part in range(frames)}
    for position, rgb in read_frames(recording.path, lambda at: at in positions and at + 1 not in known):
        if rgb is not None:
            yield position + 1, rgb


def _open_image(path: Path) -> NDArray[np.uint8]:
    import numpy as np

    from comface_bench.data.image_file import UnreadableImageError, read_image

    try:
        return np.asarray(read_image(path))
    except UnreadableImageError as error:
        error.hint += " What is finished is kept when the command is repeated."
        raise


def _write_tables(target: Path, recordings: list[Recording], boxes: BoxFile) -> EdemaReport:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    checked = any(recording.checked for recording in recordings)
    writer.writerow((*COLUMNS, *(["checked"] if checked else [])))
    rows = [
        (recording, frame, found)
        for recording in recordings
        for frame, found in sorted(boxes.of(recording.name).items())
    ]
    kept = [(recording, frame) for recording, frame, found in rows if found.box]
    writer.writerows(
        (recording.image(frame), *recording.facts, *([recording.checked] if checked else []))
        for recording, frame in kept
    )
    write_left_out(
        target, ("source", "frame"), [(recording.name, frame, found) for recording, frame, found in rows]
    )
    replace_file(target / "manifest.csv", stream.getvalue().encode())
    problems = [found.problem for _, _, found in rows]
    sessions = dict.fromkeys(recording.session for recording in recordings)
    left = {recording.session for recording, _ in kept}
    return EdemaReport(
        root=str(target),
        patients=len({recording.facts[0] for recording in recordings}),
        sessions=len(sessions),
        files=len(recordings),
        looked_at=len(rows),
        written=len(kept),
        no_face=problems.count("no face"),
        several_faces=problems.count("several faces"),
        sessions_without_image=[" ".join(session) for session in sessions if session not in left],
    )


FACTS = tuple(column for column in COLUMNS if column != "image")
"""Columns that are copied; the images' names are new."""

_HEADER = f"The header is image,{','.join(FACTS)} or video,{','.join(FACTS)}"


@dataclass(frozen=True)
class Recording:
    """One row of the source table: an image or video of a session.

    Attributes:
        path: The image or video.
        name: The same, as the table names it.
        is_video: True for a video, False for an image.
        number: 1 for the session's first recording in the table, 2 for its second, …
        facts: Cells of the columns `FACTS`.
        checked: The cell of the column `checked`, empty if there is none.
    """

    path: Path
    name: str
    is_video: bool
    number: int
    facts: tuple[str, ...]
    checked: str

    @property
    def session(self) -> tuple[str, ...]:
        """Patient, day and phase."""
        return self.facts[:3]

    def image(self, frame: int) -> str:
        """Return the name of an image in the new table, relative to its folder.

        Different patients and sessions have different names, whatever characters they are written with:
        all but letters, digits, `_` and `-` become percent signs and numbers.

        Args:
            frame: 1-based frame of a video; 0 for an image.
        """
        patient, day, phase = (_safe(cell) for cell in self.session)
        return f"images/{patient}/{day}-{phase}/{self.number:02d}{f'-{frame:05d}' if frame else ''}.jpg"


def _safe(text: str) -> str:
    # quote leaves dots and tildes alone, but `..` would be a folder.
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def read_sessions(source: Path) -> list[Recording]:
    """Read `manifest.csv` of a source folder.

    Raises:
        DataMissingError: There is no such table.
        DataProblemsError: All that is wrong in it: cells, files that aren't there, lie outside of the
            folder, or are named twice.
    """
    path = source / "manifest.csv"
    if not path.is_file():
        raise DataMissingError(f"{path} doesn't exist", _HEADER)
    problems = ProblemList()
    table = read_table(path, (*FACTS, "image", "video", "checked"), problems)
    table.check_columns(FACTS, problems)
    if table.header and not {"image", "video"} & set(table.header):
        problems.add(table.top, "no column image or video", _HEADER)
    problems.raise_any()
    weights = table.numbers("weight_kg")
    recordings: list[Recording] = []
    seen: dict[Path, str] = {}
    numbers: dict[tuple[str, ...], int] = {}
    for line in table.lines:
        facts = _read_facts(line, weights, problems)
        file = _find_file(source, line, problems)
        if file is None or facts is None:
            continue
        if file in seen:
            problems.add(
                line.where, f"{_name(line)} stands in {seen[file]} already", "Take one of the lines out."
            )
        seen[file] = line.where
        number = numbers[facts[:3]] = numbers.get(facts[:3], 0) + 1
        recordings.append(Recording(file, _name(line), not line["image"], number, facts, line["checked"]))
    if not table.lines:
        problems.add(path, "there is no line below the header", _HEADER)
    problems.raise_any()
    return recordings


def _name(line: Line) -> str:
    return line["image"] or line["video"]


def _read_facts(line: Line, weights: ColumnNumbers, problems: ProblemList) -> tuple[str, ...] | None:
    before = len(problems)
    patient, day, phase, weight = (line[column] for column in FACTS)
    if empty := [column for column in FACTS if not line[column]]:
        problems.add(line.where, f"{', '.join(empty)} is empty", "Fill it in, or take the line out.")
    if phase and phase.lower() not in PHASES:
        problems.add(
            line.where, f"phase is {phase!r}, not pre or post", "pre is before treatment, post after it."
        )
    kg = weights.parse(weight)
    if weight and kg is None:
        what, remedy = weights.mistake(weight)
        problems.add(line.where, f"weight_kg is {weight!r}, {what}", remedy)
    if kg is not None and parse_number(weight) != kg:
        weight = f"{kg:.15g}"
    return None if len(problems) > before else (patient, day, phase.lower(), weight)


def _find_file(source: Path, line: Line, problems: ProblemList) -> Path | None:
    if bool(line["image"]) == bool(line["video"]):
        message = "both an image and a video" if line["image"] else "neither an image nor a video"
        problems.add(line.where, message, "Name one file a line.")
        return None
    path = (source / _name(line)).resolve()
    if not path.is_relative_to(source.resolve()):
        problems.add(line.where, f"{_name(line)} lies outside of {source}", "Name files within the folder.")
    elif not path.is_file():
        problems.add(
            line.where, f"{source / _name(line)} doesn't exist", "Correct the name, or copy the file."
        )
    else:
        return path
    return None
