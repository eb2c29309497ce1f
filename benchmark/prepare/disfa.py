"""DISFA: from the cameras' videos to frames that show a face, numbered as the labels are.

Output, under the data root:

    DISFA/frames/SN001/00001.jpg   square crops; frame 1 is the video's first, and the labels' first line;
                                   a frame that the video lacks keeps its number
    DISFA/ActionUnit_Labels/…      copied, if they lie beside the videos
    DISFA/faces.csv                frames that were left out: no face was found, or several
    DISFA/boxes.csv                where the faces are
    DISFA/prepare.json             settings, source files, what is finished
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import replace_file
from comface_bench.data.faces import DlibDetector, FaceDetector
from comface_bench.prepare.disfa_labels import (
    Numbering,
    copy_labels,
    differing_labels,
    expected_frames,
    number_frames,
)
from comface_bench.prepare.faces import (
    BOXES_FILE,
    CROP_SIZE,
    ENTIRE_FACE,
    LEFT_OUT_FILE,
    BoxFile,
    CropRule,
    Detection,
    crop_face,
    smooth_boxes,
    write_left_out,
)
from comface_bench.prepare.state import PreparationState, Progress, check_folders, ignore
from comface_bench.prepare.video import VIDEO_SUFFIXES, Timeline, count_frames, read_frames, read_timeline
from comface_bench.tasks.formats.disfa import LABEL_LINES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        differing_labels: Label files of the source that the folder lacks, or has with other contents.
    """

    root: str
    subjects: list[SubjectFrames]
    missing: list[str]
    has_labels: bool
    differing_labels: list[str]


def prepare_disfa(
    source: Path,
    data: Path,
    *,
    camera: Camera = "right",
    stride: int = STRIDE,
    size: int = CROP_SIZE,
    margin: float = ENTIRE_FACE.margin,
    numbering: Numbering = "time",
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
        numbering: `time`: a frame has the number of the moment at which it is shown, so that frames that were
            dropped shift no label. `count`: one after the other.
        progress: Called with (frames read, frames in all); each video is read twice for its pictures.
        on_finished: Called with the counts of each video that is finished.
        detector: Face detector; dlib's frontal detector by default.

    Raises:
        UsageError: A setting is out of range or differs from an earlier call's, or the target isn't free.
        DataMissingError: There is no such source, or no video in it.
        DataFormatError: Names that can't be understood, before anything is written; or videos that can't be
            read or numbered, all of them together, after the others are finished.
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
    settings |= {"numbering": numbering}
    state = PreparationState(target, "disfa", settings)
    state.begin(
        {
            video.subject: {
                "file": video.path.relative_to(source).as_posix(),
                "bytes": video.path.stat().st_size,
                "sha256": digest_file(video.path),
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
            tick = _ticker(progress, read, total)
            read += 2 * lengths[video.subject]
            try:
                done = state.done(video.subject)
                timeline = Timeline(**done) if done else read_timeline(video.path)
                expected = expected_frames(target, video.subject)
                numbers, remarks = number_frames(video.path, timeline, expected, numbering)
                extractor = FrameExtractor(video, target / "frames" / video.subject, numbers, stride, boxes)
                if done is None or not extractor.is_complete():
                    extractor.detect_faces(finder, tick)
                    extractor.write_frames(rule, size, tick)
                    state.finish(video.subject, **asdict(timeline))
            except DataFormatError as error:
                broken.append(error)
                continue
            progress(read, total)
            reports.append(extractor.report(timeline, expected, remarks))
            on_finished(reports[-1])
        write_left_out(target, ("subject", "frame"), boxes.rows())
    if broken:
        hints = dict.fromkeys(error.hint for error in broken)
        raise DataFormatError("\n".join(error.message for error in broken), "\n".join(hints))
    missing = [subject for subject in LABEL_LINES if subject not in lengths]
    return DisfaReport(str(target), reports, missing, has_labels, differing_labels(source, target))


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
        last: Number of the last of them; higher than `decoded` if some were dropped when it was filmed.
        expected: Frames that the labels have.
        remarks: What is odd about the frames' numbers.
        looked_at: Frames at the stride.
        written: Those with exactly one face.
        no_face: Those with none, left out.
        several_faces: Those with several, left out.
    """

    subject: str
    decoded: int
    last: int
    expected: int
    remarks: list[str]
    looked_at: int
    written: int
    no_face: int
    several_faces: int


class FrameExtractor:
    """Detects faces in one video and writes its cropped frames.

    Args:
        video: The video.
        folder: Where its frames are written.
        numbers: Number of each frame in the labels, from 1.
        stride: Frames of the numbers 1, 1 + stride, 1 + 2·stride, … are looked at.
        boxes: Receives the detections.
    """

    def __init__(
        self, video: Video, folder: Path, numbers: Sequence[int], stride: int, boxes: BoxFile
    ) -> None:
        self._video, self._folder, self._numbers = video, folder, numbers
        self._stride, self._boxes = stride, boxes
        self._found = boxes.of(video.subject)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.jpg"

    def is_complete(self) -> bool:
        """Return True if each frame was looked at, and those with exactly one face are written."""
        looked_at = all(number in self._found for number in self._numbers if self._at_stride(number))
        return looked_at and all(
            self._path(number).exists() for number, found in self._found.items() if found.box
        )

    def _at_stride(self, number: int) -> bool:
        return (number - 1) % self._stride == 0

    def detect_faces(self, detector: FaceDetector, tick: Callable[[], None]) -> None:
        """Detect the faces in all frames that weren't looked at yet."""

        def wanted(number: int) -> bool:
            return self._at_stride(number) and number not in self._found

        for number, rgb in self._read(wanted, tick):
            self._boxes.add(self._video.subject, number, Detection.from_boxes(detector.detect(rgb)))

    def write_frames(self, rule: CropRule, size: int, tick: Callable[[], None]) -> None:
        """Write each frame with one face that isn't there yet."""
        lone = smooth_boxes(
            {number: found.box for number, found in self._found.items() if found.box}, SMOOTHING_FRAMES
        )
        self._folder.mkdir(parents=True, exist_ok=True)

        def wanted(number: int) -> bool:
            return number in lone and not self._path(number).exists()

        for number, rgb in self._read(wanted, tick):
            replace_file(self._path(number), crop_face(rgb, lone[number], rule, size))

    def _read(
        self, wanted: Callable[[int], bool], tick: Callable[[], None]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield number and pixels of each frame that is wanted."""
        numbers = self._numbers
        for place, rgb in read_frames(self._video.path, lambda place: wanted(numbers[place])):
            if rgb is not None:
                yield numbers[place], rgb
            tick()

    def report(self, timeline: Timeline, expected: int, remarks: list[str]) -> SubjectFrames:
        """Return the counts."""
        problems = [found.problem for found in self._found.values()]
        counts = (problems.count(problem) for problem in ("", "no face", "several faces"))
        last = self._numbers[-1]
        subject = self._video.subject
        return SubjectFrames(subject, timeline.count, last, expected, remarks, len(problems), *counts)
