"""FG-NET: faces of one person at several ages, subject and age in the file name.

Layout under the root: `images/001A02.JPG` is subject 001 at 2 years; a letter behind the age tells
two images of one age apart (`001A43a.JPG`). Other files, such as macOS leaves behind, are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, DataMissingError

_NAME = re.compile(r"(\d{3})A(\d{2})[a-z]?\.jpe?g", re.IGNORECASE)


def read_fgnet(root: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per image: image, subject, and age in years.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no `images` folder.
        DataFormatError: A JPEG's name isn't of the pattern, or an image stands there twice.
    """
    folder = root / "images"
    if not folder.is_dir():
        raise DataMissingError(
            f"{folder} doesn't exist", "Lay the data set out as docs/datasets.md shows, section FG-NET."
        )
    seen: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        if not (match := _NAME.fullmatch(path.name)):
            raise DataFormatError(
                f"{path}: the name isn't of the pattern 001A02.JPG (subject, A, age, perhaps a letter)"
            )
        stem = path.stem.lower()
        if stem in seen:
            raise DataFormatError(f"{path}: this image is there twice, also as {seen[stem]}")
        seen[stem] = path.name
        yield {"image": f"images/{path.name}", "subject": match[1], "age": float(match[2])}
