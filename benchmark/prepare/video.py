"""Reading the frames of a video, and their places in time, with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import DataFormatError, MissingExtraError
from comface_bench.data.faces import INSTALL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv")
"""Files that are taken for videos, in either case."""

MISSING_SHARE = 0.02
"""A video that ends earlier than its header promises, by more than this share of its frames, is cut off."""

OFF_BEAT = 0.25
"""A frame that is shown further than this from a beat of the video's clock, in frames, belongs to none."""

_AGAIN = "Copy the file again; what is finished is kept when the command is repeated."


@dataclass(frozen=True)
class Timeline:
    """The places of a video's frames in time.

    A place is a beat of the video's clock, which beats once a frame, from 0.

    Attributes:
        count: Frames that can be decoded.
        gaps: First and last place of each stretch without a frame: what was dropped when it was filmed.
        doubt: Why the times don't tell, if they don't; the frames have the first places then.
    """

    count: int
    gaps: Sequence[Sequence[int]] = ()
    doubt: str = ""

    @property
    def length(self) -> int:
        """Places up to the last frame, those without a frame included."""
        return self.count + sum(last - first + 1 for first, last in self.gaps)

    @property
    def places(self) -> list[int]:
        """Place of each frame, ascending."""
        empty = {place for first, last in self.gaps for place in range(first, last + 1)}
        return [place for place in range(self.length) if place not in empty]


def read_timeline(path: Path) -> Timeline:
    """Decode a video for the times at which its frames are shown.

    AVI stores no such times. It stores chunks, one for each beat; one without bytes stands for a frame that
    was dropped. With each frame comes the place of the chunk that made the decoder give it out: where frames
    refer to later ones, that is later by the same delay for all, which is taken off.

    Raises:
        MissingExtraError: PyAV isn't installed.
        DataFormatError: The file can't be opened or decoded, or ends early; names file and frame.
    """
    times: list[float | None] = []
    lead = 0.0
    with _open_video(path) as (container, stream, frames):
        rate, promised = stream.base_rate or stream.average_rate, stream.frames
        stores_times = container.format.name != "avi"
        beat = float(stream.time_base * rate) if rate and stream.time_base else 0.0
        for frame in frames:
            time = frame.pts if stores_times else frame.dts
            times.append(None if time is None else time * beat)
        if not stores_times:
            lead = _dropped_before(path) * beat
    timeline = _place_frames(times, beat, lead, ends_open=not stores_times)
    # The header of an AVI file counts its chunks, those of others the frames that are there.
    reached = timeline.count if stores_times else timeline.length
    if reached < promised * (1 - MISSING_SHARE) or not reached:
        raise DataFormatError(
            f"{path}: the video ends behind frame {reached:,}, but its header promises {promised:,}", _AGAIN
        )
    return timeline


def _dropped_before(path: Path) -> int:
    """Return the chunks without bytes before an AVI file's first frame."""
    with _open_video(path) as (container, stream, _):
        times = (packet.dts for packet in container.demux(stream) if packet.size)
        return next(times, None) or 0


def _place_frames(times: list[float | None], beat: float, lead: float, *, ends_open: bool) -> Timeline:
    """Lay frames on the beats of a clock.

    Args:
        times: Time of each frame, in frames.
        beat: Frames in a unit of the container's time; 0 if it isn't known.
        lead: Time of the first frame after the video's start.
        ends_open: Frames behind the last chunk come without a time, one after the other.
    """
    count, known = len(times), list(times)
    while ends_open and len(known) > 1 and known[-1] is None:
        known.pop()
    exact = [time for time in known if time is not None]
    if not exact or len(exact) < len(known):
        return Timeline(count, doubt="they have no times")
    if not beat:
        return Timeline(count, doubt="the video doesn't say its frame rate")
    offsets = [lead + time - exact[0] for time in exact]
    places = [round(offset) for offset in offsets]
    places += range(places[-1] + 1, places[-1] + 1 + count - len(known))
    steps = [after - before for before, after in pairwise(places)]
    if steps and min(steps) < 1:
        return Timeline(count, doubt="their times don't ascend by a frame or more")
    uneven = any(abs(offset - place) > OFF_BEAT for offset, place in zip(offsets, places, strict=False))
    # Where most frames seem to be dropped, the rate is the library's guess from uneven times.
    if uneven or (steps and median(steps) > 1):
        return Timeline(count, doubt="their times keep to no frame rate")
    gaps = [(before + 1, after - 1) for before, after in pairwise([-1, *places]) if after > before + 1]
    return Timeline(count, gaps)


def read_frames(path: Path, wanted: Callable[[int], bool]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Decode a video from its first frame on.

    Args:
        path: The video.
        wanted: Called with the 0-based number of each frame, in the order in which they are shown.

    Yields:
        Number of the frame, and its RGB pixels, shape (height, width, 3), or None if not wanted.

    Raises:
        MissingExtraError: PyAV isn't installed.
        DataFormatError: The file can't be opened or decoded; names file and frame.
    """
    import numpy as np

    with _open_video(path) as (_, _, frames):
        for number, frame in enumerate(frames):
            yield number, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) if wanted(number) else None


def count_frames(path: Path) -> int:
    """Return the number of frames in a video's header; 0 if there is none or it can't be read.

    Raises:
        MissingExtraError: PyAV isn't installed.
    """
    try:
        with _open_video(path) as (_, stream, _):
            return int(stream.frames)
    except DataFormatError:
        return 0


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any, Iterator[Any]]]:
    """Give PyAV's container, its video stream, and the decoded frames; its errors name file and frame."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("reading videos needs PyAV, which isn't installed", INSTALL) from error
    read = 0

    def decode() -> Iterator[Any]:
        nonlocal read
        for frame in container.decode(stream):
            yield frame
            read += 1

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataFormatError(f"{path}: there is no video in this file")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream, decode()
    except av.FFmpegError as error:
        where = f"can't be decoded behind frame {read}" if read else "can't be opened"
        raise DataFormatError(f"{path}: the video {where} ({error.strerror})", _AGAIN) from error
