"""Edema: from images or videos of sessions to crops of the face's centre, and the table that the tasks read.

What is written, under the data root:

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

from comface_bench.core.errors import DataFormatError, UsageError
from comface_bench.core.files import replace_file
from comface_bench.prepare.boxes import FACES, NAME, BoxFile, Detection, write_faces
from comface_bench.prepare.crop import FACE_CENTRE, SIZE, CropRule, crop_face
from comface_bench.prepare.faces import DlibDetector, FaceDetector
from comface_bench.prepare.journal import Journal, check_folders
from comface_bench.prepare.sessions import Take, read_sessions
from comface_bench.prepare.video import read_frames
from comface_bench.prepare.watch import Progress, ignore
from comface_bench.tasks.formats.edema import COLUMNS

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
    size: int = SIZE,
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
    check_folders(source, target, ("images", "manifest.csv", NAME, FACES))
    recordings = read_sessions(source)
    finder = detector or DlibDetector()
    rule = CropRule(margin, FACE_CENTRE.lift)
    settings: dict[str, Any] = {"frames": frames, "size": size, "margin": margin, "lift": rule.lift}
    settings["detector"] = finder.describe()
    state = Journal(target, "edema", settings)
    state.begin(
        {
            recording.name: {
                "bytes": recording.path.stat().st_size,
                "images": recording.image(0),
            }
            for recording in recordings
        }
    )
    with BoxFile(target) as boxes:
        for number, recording in enumerate(recordings):
            progress(number, len(recordings))
            known = boxes.of(recording.name)
            if state.done(recording.name):
                continue
            for frame, rgb in _read_images(recording, frames, set(known)):
                found = Detection.from_boxes(finder.detect(rgb))
                if found.box:
                    path = target / recording.image(frame)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    replace_file(path, crop_face(rgb, found.box, rule, size))
                # After its image, so that a frame in this file needs no second look.
                boxes.add(recording.name, frame, found)
            if recording.is_video:
                state.finish(recording.name, looked_at=len(known))
        progress(len(recordings), len(recordings))
        return _write_tables(target, recordings, boxes)


def _read_images(recording: Take, frames: int, known: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if not recording.is_video:
        if 0 not in known:
            yield 0, _open_image(recording.path)
        return
    total = sum(1 for _ in read_frames(recording.path, lambda _: False))
    # The middle of each of `frames` equal parts; a shorter video gives all that it has.
    positions = {(2 * part + 1) * total // (2 * frames) for part in range(frames)}
    for position, rgb in read_frames(recording.path, lambda at: at in positions and at + 1 not in known):
        if rgb is not None:
            yield position + 1, rgb


def _open_image(path: Path) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataFormatError(
            f"{path}: the image can't be read ({error})",
            "Copy it again; what is finished is kept when the command is repeated.",
        ) from error


def _write_tables(target: Path, recordings: list[Take], boxes: BoxFile) -> EdemaReport:
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
    write_faces(
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
