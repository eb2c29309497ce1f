"""Images to bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def encode_image(image: NDArray[np.uint8], suffix: str, quality: int) -> bytes:
    """Encode an RGB image.

    α moves in small steps, so JPEG keeps colour at full resolution (4:4:4).

    Args:
        image: Shape (3, H, W).
        suffix: `jpg` or `png`.
        quality: Of JPEG, 1 to 100.
    """
    from PIL import Image

    stream, picture = io.BytesIO(), Image.fromarray(image.transpose(1, 2, 0))
    if suffix == "png":
        picture.save(stream, "PNG")
    else:
        picture.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode an image to RGB, shape (3, H, W).

    Raises:
        OSError: The bytes aren't a whole image.
    """
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
