"""DISFA: from the cameras' videos to frames that show a face, numbered as the labels are.

What is written, under the data root:

    DISFA/frames/SN001/00001.jpg   square crops; frame 1 is the video's first, and the labels' first line
    DISFA/ActionUnit_Labels/…      copied, if they lie beside the videos
    DISFA/faces.csv                frames that were left out: no face was found, or several
    DISFA/boxes.csv                where the faces are
    DISFA/prepare.json             settings, source files, what is finished
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, UsageError
from comface_bench.prepare.boxes import FACES, NAME, BoxFile, write_faces
from comface_bench.prepare.cameras import Camera, find_videos
from comface_bench.prepare.crop import ENTIRE_FACE, SIZE, CropRule
from comface_bench.prepare.faces import DlibDetector, FaceDetector
from comface_bench.prepare.footage import REACH, Footage, SubjectFrames
from comface_bench.prepare.journal import Journal, check_folders
from comface_bench.prepare.labels import copy_labels, expected_frames
from comface_bench.prepare.video import count_frames
from comface_bench.prepare.watch import Progress, ignore
from comface_bench.tasks.formats.disfa_frames import LINES

STRIDE = 5
"""Every fifth frame, 4 a second: neighbours are near copies of each other, mostly with the same labels."""


@dataclass(frozen=True)
class DisfaReport:
    """Counts of a prepared DISFA.

    Attributes:
        root: Folder that was prepared.
        subjects: One entry per video, in order.
        missing: Subjects of DISFA without a video in the source.
        has_labels: True if label files lie in the folder.
    """

    root: str
    subjects: list[SubjectFrames]
    missing: list[str]
    has_labels: bool


def prepare_disfa(
    source: Path,
    data: Path,
    *,
    camera: Camera = "right",
    stride: int = STRIDE,
    size: int = SIZE,
    margin: float = ENTIRE_FACE.margin,
    progress: Progress = ignore,
    on_finished: Callable[[SubjectFrames], None] = ignore,
    detector: FaceDetector | None = None,
) -> DisfaReport:
    """Cut the faces out of DISFA's videos; goes on where an earlier call was cut off.

    Args:
        source: Folder that holds the cameras' folders, and the labels' if they are to be copied.
        data: Data root; `DISFA` in it is filled.
        camera: `right`, as in the paper, or `left`.
        stride: Each `stride`-th frame is looked at, from the first on.
        size: Height and width of the crops in pixels.
        margin: Context kept around a face on each side, in shares of its box.
        progress: Called with (frames read, frames in all); each video is read twice.
        on_finished: Called with the counts of each video that is finished.
        detector: Face detector; dlib's frontal detector by default.

    Raises:
        UsageError: A setting is out of range or differs from an earlier call's, or the target isn't free.
        DataMissingError: There is no such source, or no video in it.
        DataFormatError: Names that can't be understood, before anything is written; or videos that can't be
            read, all of them together, after the others are finished.
        MissingExtraError: PyAV or dlib isn't installed.
    """
    if stride < 1 or size < 16 or not 0 <= margin <= 2:
        raise UsageError(
            f"stride {stride}, size {size}, margin {margin}: expected at least 1, at least 16, and 0 to 2"
        )
    target = data / "DISFA"
    check_folders(source, target, ("frames", NAME, FACES))
    videos = find_videos(source, camera)
    finder = detector or DlibDetector()
    rule = CropRule(margin, ENTIRE_FACE.lift)
    settings: dict[str, Any] = {"camera": camera, "stride": stride, "size": size, "margin": margin}
    settings |= {"lift": rule.lift, "reach": REACH, "detector": finder.describe()}
    state = Journal(target, "disfa", settings)
    state.begin(
        {
            video.subject: {
                "file": video.path.relative_to(source).as_posix(),
                "bytes": video.path.stat().st_size,
            }
            for video in videos
        }
    )
    has_labels = copy_labels(source, target)
    lengths = {video.subject: count_frames(video.path) for video in videos}
    total, read = 2 * sum(lengths.values()), 0
    reports: list[SubjectFrames] = []
    broken: list[DataFormatError] = []
    with BoxFile(target) as boxes:
        for video in videos:
            extractor = Footage(video, target / "frames" / video.subject, stride, boxes)
            tick = _ticker(progress, read, total)
            read += 2 * lengths[video.subject]
            try:
                done = state.done(video.subject)
                if done is None or not extractor.is_complete():
                    decoded = extractor.detect_faces(finder, tick)
                    extractor.write_frames(rule, size, tick)
                    state.finish(video.subject, decoded=decoded)
                    done = {"decoded": decoded}
            except DataFormatError as error:
                broken.append(error)
                continue
            progress(read, total)
            reports.append(extractor.report(done["decoded"], expected_frames(target, video.subject)))
            on_finished(reports[-1])
        write_faces(target, ("subject", "frame"), boxes.rows())
    if broken:
        raise DataFormatError("\n".join(error.message for error in broken), broken[0].hint)
    missing = [subject for subject in LINES if subject not in lengths]
    return DisfaReport(str(target), reports, missing, has_labels)


def _ticker(progress: Progress, read: int, total: int) -> Callable[[], None]:
    def tick() -> None:
        nonlocal read
        read += 1
        progress(min(read, total), total)

    return tick
