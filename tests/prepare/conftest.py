"""Small videos, made on the fly, that show rendered faces."""

import hashlib
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import comface_bench.tasks
from comface_bench.data.faces import Box

FACES = Path(comface_bench.tasks.__file__).parent / "synthfaces" / "DISFA" / "frames"


class WholeImage:
    """A detector to which each image is one face; counts its calls, and stops like Ctrl-C at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked, self.stop_at = 0, stop_at

    def detect(self, rgb):
        if self.asked == self.stop_at:
            raise KeyboardInterrupt
        self.asked += 1
        return [Box(0, 0, rgb.shape[1], rgb.shape[0])]

    def describe(self):
        return {"name": "whole image"}


@pytest.fixture(scope="session")
def whole_image():
    """Make a detector to which each image is one face: `whole_image(stop_at=3)`."""
    return WholeImage


@pytest.fixture(scope="session")
def draw_scene():
    """Draw a scene as RGB pixels: so many rendered faces side by side before a grey of that level."""

    def draw(faces: int = 1, grey: int = 128, subject: str = "SN001", frame: int = 1) -> np.ndarray:
        canvas = Image.new("RGB", (320, 240), (grey, grey, grey))
        with Image.open(FACES / subject / f"{frame:05d}.jpg", formats=["JPEG", "PNG"]) as face:
            for left in {0: [], 1: [96], 2: [16, 176]}[faces]:
                canvas.paste(face, (left, 56))
        return np.array(canvas)

    return draw


@pytest.fixture(scope="session")
def make_video():
    """Encode frames as MPEG-4, or by another codec, into the container of the path's ending."""
    av = pytest.importorskip("av")

    def make(path: Path, frames, times=None, *, rate=20, time_base=None, codec="mpeg4", b_frames=0) -> Path:
        """`times`: when each frame is shown, in units of `time_base`, which is a frame by default."""
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = list(frames)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.bit_rate, stream.gop_size = 8_000_000, 5
            stream.codec_context.max_b_frames = b_frames
            stream.codec_context.time_base = time_base or 1 / Fraction(rate)
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = number if times is None else int(times[number])
                frame.time_base = stream.codec_context.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture(scope="session")
def write_chunks():
    """Write chunks of MPEG-4 as an AVI file of 20 frames a second; one without bytes is a dropped frame."""

    def write(path: Path, chunks: list[bytes], side: int) -> Path:
        count, movi, index = len(chunks), b"movi", b""
        for data in chunks:
            index += b"00dc" + struct.pack("<3I", 16 if data else 0, len(movi), len(data))
            movi += _chunk(b"00dc", data)
        main = struct.pack("<14I", 50_000, 0, 0, 16, count, 0, 1, 0, side, side, 0, 0, 0, 0)
        stream = b"vidsFMP4" + struct.pack("<10I4H", 0, 0, 0, 1, 20, 0, count, 2**20, 0, 0, 0, 0, side, side)
        form = struct.pack("<3I2H4s5I", 40, side, side, 1, 24, b"FMP4", 0, 0, 0, 0, 0)
        header = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", form))
        header = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", main) + header)
        path.write_bytes(_chunk(b"RIFF", b"AVI " + header + _chunk(b"LIST", movi) + _chunk(b"idx1", index)))
        return path

    return write


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


@pytest.fixture(scope="session")
def digest_tree():
    """Return the digest of each file under a folder, by relative path."""

    def digest(root: Path) -> dict[str, str]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    return digest
