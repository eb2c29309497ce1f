"""DISFA: from the cameras' videos to frames that show a face, numbered as the labels are.

Output, under the data root:

    DISFA/frames/SN001/00001.jpg   square crops; frame 1 is the video's first, and the labels' first line
    DISFA/ActionUnit_Labels/…      copied, if they lie beside the videos
    DISFA/faces.csv                frames that were left out: no face was found, or several
    DISFA/boxes.csv                where the faces are
    DISFA/prepare.json             settings, source files, what is finished
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import replace_file, writing
from comface_bench.prepare.faces import (
    BOXES_FILE,
    CROP_SIZE,
    ENTIRE_FACE,
    LEFT_OUT_FILE,
    BoxFile,
    CropRule,
    Detection,
    DlibDetector,
    FaceDetector,
    crop_face,
    smooth_boxes,
    write_left_out,
)
from comface_bench.prepare.state import PreparationState, Progress, check_folders, ignore
from comface_bench.prepare.video import VIDEO_SUFFIXES, count_frames, read_frames
from comface_bench.tasks.formats.disfa import LABEL_FOLDERS, LABEL_LINES
from comface_bench.tasks.formats.files import numbered_lines

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
    size: int = CROP_SIZE,
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
    check_folders(source, target, ("frames", BOXES_FILE, LEFT_OUT_FILE))
    videos = find_videos(source, camera)
    finder = detector or DlibDetector()
    rule = CropRule(margin, ENTIRE_FACE.lift)
    settings: dict[str, Any] = {"camera": camera, "stride": stride, "size": size, "margin": margin}
    settings |= {"lift": rule.lift, "reach": SMOOTHING_FRAMES, "detector": finder.describe()}
    state = PreparationState(target, "disfa", settings)
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
            extractor = FrameExtractor(video, target / "frames" / video.subject, stride, boxes)
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
        write_left_out(target, ("subject", "frame"), boxes.rows())
    if broken:
        raise DataFormatError("\n".join(error.message for error in broken), broken[0].hint)
    missing = [subject for subject in LABEL_LINES if subject not in lengths]
    return DisfaReport(str(target), reports, missing, has_labels)


def _ticker(progress: Progress, read: int, total: int) -> Callable[[], None]:
    def tick() -> None:
        nonlocal read
        read += 1
        progress(min(read, total), total)

    return tick


Camera = Literal["left", "right"]

_TOKEN = re.compile(r"SN(\d{3})(?!\d)", re.IGNORECASE)
_CAMERA = re.compile(r"left|right", re.IGNORECASE)


class Video(NamedTuple):
    """One subject, filmed by one camera."""

    subject: str
    path: Path


def find_videos(source: Path, camera: Camera) -> list[Video]:
    """Find the videos of a camera in a folder or the folders in it, in order of subject.

    Subject and camera are read from the file's name (`RightVideoSN001_Comp.avi`), the camera else from
    its folder's (`Video_RightCamera`). Videos that name neither are passed over.

    Args:
        source: Folder that holds `Video_RightCamera`, `Videos_LeftCamera`, or the videos themselves.
        camera: The camera whose videos are taken.

    Raises:
        DataMissingError: The camera has no video here.
        DataFormatError: A name holds no subject, an unknown one, or no camera; or a subject has two videos.
    """
    found: dict[str, Path] = {}
    others = 0
    for path in sorted([*source.glob("*"), *source.glob("*/*")]):
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        side = _camera(path, source)
        if side is None and not _TOKEN.search(path.name):
            continue
        if side is None:
            raise DataFormatError(
                f"{path}: neither the file's nor its folder's name tells the left camera from the right one",
                "Names are such as Video_RightCamera/RightVideoSN001_Comp.avi",
            )
        if side != camera:
            others += 1
            continue
        subject = _subject(path)
        if subject in found:
            raise DataFormatError(
                f"{path}: {subject} has a second video of the {camera} camera, {found[subject]}",
                "Keep one of the two in the source.",
            )
        found[subject] = path
    if not found:
        other = "left" if camera == "right" else "right"
        raise DataMissingError(
            f"{source}: no video of the {camera} camera, such as RightVideoSN001_Comp.avi",
            f"The {others} videos here are of the {other} one: --camera {other}"
            if others
            else "Name the folder that holds Video_RightCamera: --source DIR",
        )
    return [Video(subject, found[subject]) for subject in sorted(found)]


def _camera(path: Path, source: Path) -> str | None:
    folders = path.relative_to(source).parts[:-1]
    for name in (path.name, *folders, source.name):
        sides = {match[0].lower() for match in _CAMERA.finditer(name)}
        if len(sides) == 1:
            return sides.pop()
    return None


def _subject(path: Path) -> str:
    numbers = {f"SN{number}" for number in _TOKEN.findall(path.name)}
    if len(numbers) != 1:
        raise DataFormatError(f"{path}: the name tells no subject", "It holds SN and three digits: SN001")
    (subject,) = numbers
    if subject not in LABEL_LINES:
        raise DataFormatError(
            f"{path}: DISFA has no subject {subject}; it has {', '.join(LABEL_LINES)}",
            "Correct the name, or keep the file out of the source.",
        )
    return subject


SMOOTHING_FRAMES = 10
"""A crop follows the median of the boxes within half a second before and after it (20 frames a second)."""


@dataclass(frozen=True)
class SubjectFrames:
    """Frame counts of one subject's video.

    Attributes:
        subject: Name of the subject, such as SN001.
        decoded: Frames in the video.
        expected: Frames that the labels have.
        looked_at: Frames at the stride.
        written: Those with exactly one face.
        no_face: Those with none, left out.
        several_faces: Those with several, left out.
    """

    subject: str
    decoded: int
    expected: int
    looked_at: int
    written: int
    no_face: int
    several_faces: int


class FrameExtractor:
    """Detects faces in one video and writes its cropped frames; frames have the labels' numbers, from 1."""

    def __init__(self, video: Video, folder: Path, stride: int, boxes: BoxFile) -> None:
        self._video, self._folder, self._stride, self._boxes = video, folder, stride, boxes
        self._found = boxes.of(video.subject)

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:05d}.jpg"

    def is_complete(self) -> bool:
        """Return True if each frame with exactly one face is written."""
        return all(self._path(frame).exists() for frame, found in self._found.items() if found.box)

    def detect_faces(self, detector: FaceDetector, tick: Callable[[], None]) -> int:
        """Detect the faces in all frames that weren't looked at yet; return the frames in the video."""

        def wanted(position: int) -> bool:
            return position % self._stride == 0 and position + 1 not in self._found

        decoded = 0
        for position, rgb in read_frames(self._video.path, wanted):
            if rgb is not None:
                self._boxes.add(self._video.subject, position + 1, Detection.from_boxes(detector.detect(rgb)))
            decoded = position + 1
            tick()
        return decoded

    def write_frames(self, rule: CropRule, size: int, tick: Callable[[], None]) -> None:
        """Write each frame with one face that isn't there yet."""
        lone = smooth_boxes(
            {frame: found.box for frame, found in self._found.items() if found.box}, SMOOTHING_FRAMES
        )
        self._folder.mkdir(parents=True, exist_ok=True)

        def wanted(position: int) -> bool:
            return position + 1 in lone and not self._path(position + 1).exists()

        for position, rgb in read_frames(self._video.path, wanted):
            if rgb is not None:
                frame = position + 1
                replace_file(self._path(frame), crop_face(rgb, lone[frame], rule, size))
            tick()

    def report(self, decoded: int, expected: int) -> SubjectFrames:
        """Return the counts."""
        problems = [found.problem for found in self._found.values()]
        counts = (problems.count(problem) for problem in ("", "no face", "several faces"))
        return SubjectFrames(self._video.subject, decoded, expected, len(problems), *counts)


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
    if not (labels := find_labels(source)):
        return False
    part = target / f".{LABEL_FOLDERS[0]}.part"
    shutil.rmtree(part, ignore_errors=True)
    for folder in sorted(path for path in labels.iterdir() if _SUBJECT.fullmatch(path.name)):
        copy = part / folder.name.upper()
        copy.mkdir(parents=True)
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == ".txt" and not path.name.startswith("."):
                with writing(copy / path.name):
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
    return LABEL_LINES[subject]
