"""Reading the frames of a video, with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import DataFormatError, MissingExtraError
from comface_bench.prepare.faces import INSTALL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv")
"""Files that are taken for videos, in either case."""

MISSING_SHARE = 0.02
"""A video that gives fewer frames than its header promises, by more than this share, is cut off."""

_AGAIN = "Copy the file again; what is finished is kept when the command is repeated."


def read_frames(path: Path, wanted: Callable[[int], bool]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Decode a video from its first frame on.

    Args:
        path: The video.
        wanted: Called with the 0-based position of each frame.

    Yields:
        Position of the frame, and its RGB pixels, shape (height, width, 3), or None if not wanted.

    Raises:
        MissingExtraError: PyAV isn't installed.
        DataFormatError: The file can't be opened or decoded, or ends early; names file and frame.
    """
    import numpy as np

    try:
        import av
    except ImportError as error:
        raise MissingExtraError("reading videos needs PyAV, which isn't installed", INSTALL) from error
    read = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataFormatError(f"{path}: there is no video in this file")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised = stream.frames
            for frame in container.decode(stream):
                yield read, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) if wanted(read) else None
                read += 1
    except av.FFmpegError as error:
        where = f"can't be decoded behind frame {read}" if read else "can't be opened"
        raise DataFormatError(f"{path}: the video {where} ({error.strerror})", _AGAIN) from error
    if read < promised * (1 - MISSING_SHARE) or not read:
        raise DataFormatError(
            f"{path}: the video ends behind frame {read:,}, but its header promises {promised:,}", _AGAIN
        )


def count_frames(path: Path) -> int:
    """Return the number of frames in a video's header; 0 if there is none or it can't be read.

    Raises:
        MissingExtraError: PyAV isn't installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("reading videos needs PyAV, which isn't installed", INSTALL) from error
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames if container.streams.video else 0
    except av.FFmpegError:
        return 0
