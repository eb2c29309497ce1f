"""FG-NET: faces of one person at several ages, subject and age in the file name.

Layout under the root: `images/001A02.JPG` is subject 001 at 2 years; a letter behind the age
distinguishes two images of one age (`001A43a.JPG`). Either case is read. Landmarks (`points/`), data files
and what operating systems leave behind are passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.files import listed

IMAGE_NAME = re.compile(r"([0-9]{3})A([0-9]{2})([a-z]?)\.jpe?g", re.IGNORECASE)
"""Subject, age and suffix of an image's name."""
_JPEG = (".jpg", ".jpeg")
_OTHER_IMAGES = (".bmp", ".gif", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_fgnet(root: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per image: image, subject, and age in years.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no `images` folder.
        DataFormatError: There are two.
        DataProblemsError: After the last good row: JPEGs whose names aren't of the pattern, and images
            that are there twice.
    """
    folder = _find_images(root)
    problems = ProblemList()
    seen: dict[str, str] = {}
    images: Counter[str] = Counter()
    others = []
    for path in sorted(folder.iterdir()):
        ending = path.suffix.lower()
        if path.name.startswith(".") or ending not in (*_JPEG, *_OTHER_IMAGES):
            continue
        if ending in _OTHER_IMAGES:
            others.append(path.name)
        elif not (match := IMAGE_NAME.fullmatch(path.name)):
            problems.add(
                path,
                "the name isn't of the pattern 001A02.JPG (subject, A, age, perhaps a letter)",
                "Rename it, or take it out.",
            )
        elif first := seen.get(path.stem.lower()):
            problems.add(path, f"this image is there twice, also as {first}", "Take one of the two out.")
        else:
            seen[path.stem.lower()] = path.name
            images[match[1]] += 1
            yield {"image": f"{folder.name}/{path.name}", "subject": match[1], "age": float(match[2])}
    if others:
        yield Note(f"images in {folder.name}/ that aren't JPEG and aren't read: {listed(others)}")
    if single := sorted(subject for subject, count in images.items() if count == 1):
        yield Note(f"subjects with one image, who have no pair: {len(single):,} ({listed(single)})")
    problems.raise_any()


def _find_images(root: Path) -> Path:
    """Return the folder `images` in either case."""
    found = _image_folders(root)
    if len(found) > 1:
        raise DataFormatError(
            f"{root} has the folders {' and '.join(path.name for path in found)}",
            "Keep one of them: every image stands in one folder.",
        )
    if found:
        return found[0]
    hint = "Lay the data set out as docs/datasets/fgnet.md shows."
    if inner := [path for path in sorted(root.iterdir()) if path.is_dir() and _image_folders(path)]:
        hint = f"There is {_image_folders(inner[0])[0]}: move what {inner[0].name} holds one level up"
        hint += f", or: --data {root}" if inner[0].name == root.name else "."
    elif any(IMAGE_NAME.fullmatch(path.name) for path in root.iterdir()):
        hint = f"The images lie in {root} itself: move them into {root / 'images'}."
    raise DataMissingError(f"{root / 'images'} doesn't exist", hint)


def _image_folders(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.name.lower() == "images" and path.is_dir()]
