"""One of DISFA's videos: face detection, then cropped frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.files import replace_file
from comface_bench.prepare.boxes import BoxFile, Detection
from comface_bench.prepare.cameras import Video
from comface_bench.prepare.crop import CropRule, crop_face, steady
from comface_bench.prepare.faces import FaceDetector
from comface_bench.prepare.video import read_frames

REACH = 10
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


class Footage:
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
        lone = steady({frame: found.box for frame, found in self._found.items() if found.box}, REACH)
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
