"""One of DISFA's videos: finding its faces, then writing its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comface_bench.prepare.boxes import BoxFile, found_from
from comface_bench.prepare.cameras import Video
from comface_bench.prepare.crop import CropRule, crop_face, steady
from comface_bench.prepare.faces import FaceDetector
from comface_bench.prepare.journal import write_whole
from comface_bench.prepare.video import read_frames

REACH = 10
"""A crop follows the median of the boxes within half a second before and after it (20 frames a second)."""


@dataclass(frozen=True)
class SubjectFrames:
    """What became of a subject's video.

    Attributes:
        subject: The subject.
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
    """One video, its folder of frames, and the boxes found in it, by the labels' frame number."""

    def __init__(self, video: Video, folder: Path, stride: int, boxes: BoxFile) -> None:
        self._video, self._folder, self._stride, self._boxes = video, folder, stride, boxes
        self._found = boxes.of(video.subject)

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:05d}.jpg"

    def is_complete(self) -> bool:
        """Say whether each frame with one face is written."""
        return all(self._path(frame).exists() for frame, found in self._found.items() if found.box)

    def find(self, detector: FaceDetector, tick: Callable[[], None]) -> int:
        """Find the faces in all frames that weren't looked at yet; return the frames in the video."""

        def wanted(position: int) -> bool:
            return position % self._stride == 0 and position + 1 not in self._found

        decoded = 0
        for position, rgb in read_frames(self._video.path, wanted):
            if rgb is not None:
                self._boxes.add(self._video.subject, position + 1, found_from(detector.detect(rgb)))
            decoded = position + 1
            tick()
        return decoded

    def write(self, rule: CropRule, size: int, tick: Callable[[], None]) -> None:
        """Write each frame with one face that isn't there yet."""
        lone = steady({frame: found.box for frame, found in self._found.items() if found.box}, REACH)
        self._folder.mkdir(parents=True, exist_ok=True)

        def wanted(position: int) -> bool:
            return position + 1 in lone and not self._path(position + 1).exists()

        for position, rgb in read_frames(self._video.path, wanted):
            if rgb is not None:
                frame = position + 1
                write_whole(self._path(frame), crop_face(rgb, lone[frame], rule, size))
            tick()

    def report(self, decoded: int, expected: int) -> SubjectFrames:
        """Count what was found."""
        problems = [found.problem for found in self._found.values()]
        counts = (problems.count(problem) for problem in ("", "no face", "several faces"))
        return SubjectFrames(self._video.subject, decoded, expected, len(problems), *counts)
