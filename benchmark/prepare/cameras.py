"""DISFA's videos: two cameras, whose folders and files are spelled in several ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.prepare.video import ENDINGS
from comface_bench.tasks.formats.disfa_frames import LINES

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
        if path.suffix.lower() not in ENDINGS or path.name.startswith(".") or not path.is_file():
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
        said = {match[0].lower() for match in _CAMERA.finditer(name)}
        if len(said) == 1:
            return said.pop()
    return None


def _subject(path: Path) -> str:
    numbers = {f"SN{number}" for number in _TOKEN.findall(path.name)}
    if len(numbers) != 1:
        raise DataFormatError(f"{path}: the name tells no subject", "It holds SN and three digits: SN001")
    (subject,) = numbers
    if subject not in LINES:
        raise DataFormatError(
            f"{path}: DISFA has no subject {subject}; it has {', '.join(LINES)}",
            "Correct the name, or keep the file out of the source.",
        )
    return subject
