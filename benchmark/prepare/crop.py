"""Face crops: a square around the box, always of one size.

The paper says only that DISFA's crop holds the entire face and Edema's the centre of the face
(supplement, A.2); the numbers are ours. A detector's box reaches from the brows to the chin.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from comface_bench.prepare.faces import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUALITY = 95
"""JPEG quality of what is written."""

SIZE = 256
"""Height and width of a crop in pixels: the paper trains at 224, so that no image is enlarged for it."""


@dataclass(frozen=True)
class CropRule:
    """Edges of a crop, in shares of the longer side of the box.

    Attributes:
        margin: Share added on each side.
        lift: Share by which the square is moved up, for the forehead that the box leaves out.
    """

    margin: float
    lift: float = 0.0


ENTIRE_FACE = CropRule(margin=0.3, lift=0.1)
"""DISFA: forehead, ears and chin are inside, also of an open mouth."""

FACE_CENTRE = CropRule(margin=0.0)
"""Edema: the box itself, from the brows to the chin."""


def crop_face(rgb: NDArray[np.uint8], box: Box, rule: CropRule, size: int) -> bytes:
    """Cut a square around a face and return it as a JPEG of `size` × `size` pixels.

    Where the square leaves the image, the pixels of its border are repeated, so that the face keeps
    its place and scale.

    Args:
        rgb: The image, shape (height, width, 3).
        box: The face.
        rule: Context that is kept around the box.
        size: Height and width of the result in pixels.
    """
    import numpy as np
    from PIL import Image

    side = max(box.width, box.height)
    half = side * (0.5 + rule.margin)
    x, y = box.x + box.width / 2, box.y + box.height / 2 - rule.lift * side
    left, top, right, bottom = x - half, y - half, x + half, y + half
    height, width = rgb.shape[:2]
    before_x, before_y = max(0, math.ceil(-left)), max(0, math.ceil(-top))
    after_x, after_y = max(0, math.ceil(right - width)), max(0, math.ceil(bottom - height))
    padded = np.pad(rgb, ((before_y, after_y), (before_x, after_x), (0, 0)), mode="edge")
    edges = (left + before_x, top + before_y, right + before_x, bottom + before_y)
    image = Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=edges)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def steady(boxes: Mapping[int, Box], reach: int) -> dict[int, Box]:
    """Replace each box by the median of the boxes at most `reach` frames before or after it.

    A detector that works on a pyramid of sizes jumps by a fifth from one frame to the next; a face doesn't.

    Args:
        boxes: Box by frame number.
        reach: Frames to either side.
    """
    frames, result, first, behind = sorted(boxes), {}, 0, 0
    for frame in frames:
        while frames[first] < frame - reach:
            first += 1
        while behind < len(frames) and frames[behind] <= frame + reach:
            behind += 1
        near = [boxes[other] for other in frames[first:behind]]
        side = median(max(box.width, box.height) for box in near)
        x = median(box.x + box.width / 2 for box in near)
        y = median(box.y + box.height / 2 for box in near)
        result[frame] = Box(x - side / 2, y - side / 2, side, side, boxes[frame].score)
    return result
