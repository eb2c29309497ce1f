"""Small videos, made on the fly, that show rendered faces."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import comface_bench.tasks
from comface_bench.prepare.faces import Box

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
    """Encode frames as MPEG-4 in an AVI file; returns its path."""
    av = pytest.importorskip("av")

    def make(path: Path, frames) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=20)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            stream.bit_rate, stream.gop_size = 8_000_000, 5
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


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
