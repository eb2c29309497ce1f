"""Face detection: one small interface, and the detector behind it.

The default is dlib's frontal detector (HOG features and a linear classifier; King, 2009). Its model is
compiled into the wheel, so nothing is fetched at run time; it gives the same boxes on each run; it is the
fastest of those that `benchmarks/faces.py` compares, and in 97 % of FG-NET's photographs it finds the one
face and no second. MTCNN finds 99 %, but the wheel that carries it pins an old torch; OpenCV's cascades find
94 % with false faces among them, and OpenCV 5 no longer brings them; its YuNet needs a file of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORT_SIDE = 480
"""Bigger images are shrunk to this height or width in pixels, whichever is smaller, before detection."""

INSTALL = "python -m pip install 'comface-bench[prepare]'"
"""Command that installs the packages for reading videos and finding faces."""


@dataclass(frozen=True)
class Box:
    """Bounding box of a face, in pixels of the image that it was found in.

    Attributes:
        x: Left edge; may lie outside the image.
        y: Upper edge; may lie outside the image.
        width: Width.
        height: Height.
        score: The detector's own; higher is surer.
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 0.0


class FaceDetector(Protocol):
    """Finds faces."""

    def detect(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Return the faces of an image of shape (height, width, 3), the surest first."""
        ...

    def describe(self) -> dict[str, str | int]:
        """Return name, version and settings, all of which can change what is found."""
        ...


class DlibDetector:
    """dlib's frontal detector, with a second look at twice the size where the first finds nothing.

    The smallest face that the first look finds is about 80 pixels wide after shrinking, the second 40.

    Raises:
        MissingExtraError: dlib isn't installed.
    """

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise MissingExtraError("finding faces needs dlib, which isn't installed", INSTALL) from error
        self._version = str(dlib.__version__)
        self._detector: Any = dlib.get_frontal_face_detector()

    def detect(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Return the faces of an image of shape (height, width, 3), the surest first."""
        import numpy as np
        from PIL import Image

        scale = max(1.0, min(rgb.shape[:2]) / SHORT_SIDE)
        if scale > 1:
            small = (round(rgb.shape[1] / scale), round(rgb.shape[0] / scale))
            rgb = np.asarray(Image.fromarray(rgb).resize(small, Image.Resampling.BILINEAR))
        rgb = np.ascontiguousarray(rgb)
        found = self._look(rgb, 0, scale) or self._look(rgb, 1, scale)
        return sorted(found, key=lambda box: -box.score)

    def _look(self, rgb: NDArray[np.uint8], doublings: int, scale: float) -> list[Box]:
        faces, scores, _ = self._detector.run(rgb, doublings, 0.0)
        found = []
        for face, score in zip(faces, scores, strict=True):
            edges = (face.left(), face.top(), face.width(), face.height())
            x, y, width, height = (round(edge * scale, 1) for edge in edges)
            found.append(Box(x, y, width, height, round(float(score), 3)))
        return found

    def describe(self) -> dict[str, str | int]:
        """Return name, version and the size that images are shrunk to."""
        return {"name": "dlib-frontal", "version": self._version, "short_side": SHORT_SIDE}
