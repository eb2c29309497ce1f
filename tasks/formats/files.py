"""Folders and text files as found in practice, and mistakes in them that repeat.

Names are read in any case, files of operating systems among the data are passed over, and text may have a
byte-order mark and either line ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import ProblemList

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
"""Endings of image files that are read, in any case."""

_OTHER_IMAGES = (".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_JUNK = ("__macosx", "thumbs.db", "desktop.ini")


def list_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """Return a folder's sub-folders and the names of its files, both sorted.

    Hidden entries and those that macOS and Windows leave behind are passed over.
    """
    folders: list[Path] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _JUNK:
                continue
            if entry.is_dir():
                folders.append(folder / entry.name)
            else:
                files.append(entry.name)
    return sorted(folders), sorted(files)


def find_folder(root: Path, spellings: Sequence[str], problems: ProblemList, hint: str) -> Path:
    """Return the one sub-folder that goes by one of some names, in any case.

    Args:
        root: Folder of the data set.
        spellings: The names, the usual one first.
        problems: Receives several folders of these names; the first is returned.
        hint: Remedy if there is none.

    Raises:
        DataMissingError: There is none.
    """
    known = [spelling.lower() for spelling in spellings]
    folders = list_folder(root)[0] if root.is_dir() else []
    found = [path for path in folders if path.name.lower() in known]
    if not found:
        raise DataMissingError(f"{root / spellings[0]} doesn't exist", hint)
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        problems.add(
            root, f"{names} hold the same kind of data", "Keep the right one, and move the rest elsewhere."
        )
    return found[0]


def reject_images(
    folder: Path, names: Sequence[str], message: str, remedy: str, problems: ProblemList
) -> None:
    """Report images that can't be used where they are or as they are, as one problem with their number.

    Args:
        folder: The folder.
        names: Names of files in it; those that don't end like an image's are passed over.
        message: What is wrong with each.
        remedy: What to do about it.
        problems: Receives the problem.
    """
    images = [name for name in names if name.lower().endswith((*IMAGE_ENDINGS, *_OTHER_IMAGES))]
    if images:
        problems.add(folder / images[0], f"{message}{and_more(len(images) - 1, 'image')}", remedy)


def image_stem(name: str) -> str:
    """Return the key by which an image's name is compared: lower case, without an image's ending."""
    plain = name.lower()
    return plain[: plain.rindex(".")] if plain.endswith((*IMAGE_ENDINGS, *_OTHER_IMAGES)) else plain


def name_images(folder: Path, problems: ProblemList) -> dict[str, str]:
    """Return a folder's images: `image_stem` → file name, sorted by file name.

    Args:
        folder: The folder.
        problems: Receives images of other formats, and pairs that differ in ending or case alone.
    """
    found: dict[str, str] = {}
    twice: list[str] = []
    names = list_folder(folder)[1]
    for name in names:
        if name.lower().endswith(IMAGE_ENDINGS):
            if image_stem(name) in found:
                twice.append(name)
            else:
                found[image_stem(name)] = name
    other = [name for name in names if not name.lower().endswith(IMAGE_ENDINGS)]
    reject_images(folder, other, "not a format that is read", "Save it as JPEG or PNG.", problems)
    if twice:
        again = and_more(len(twice) - 1, "image")
        message = f"this image is there twice, also as {found[image_stem(twice[0])]}{again}"
        problems.add(folder / twice[0], message, "Keep one file an image.")
    return found


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that aren't blank, stripped, with their 1-based numbers.

    Raises:
        DataFormatError: The file can't be read, or isn't UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFormatError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})", "Save it as UTF-8 text."
        ) from error
    except OSError as error:
        raise DataFormatError(f"{path}: can't be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if stripped := line.strip():
            yield number, stripped


def counted(count: int, what: str) -> str:
    """Return a number of things in words: `1 frame`, `4,845 frames`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def and_more(count: int, what: str) -> str:
    """Return the number of further mistakes of a kind in brackets; an empty text for 0."""
    return f" (and {count:,} more such {what}{'' if count == 1 else 's'})" if count else ""


class RepeatedProblems:
    """Collects mistakes that belong together; each kind is reported once, by its first case.

    Args:
        what: Noun for a case: `line`, `file`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: dict[str, tuple[str, str, str]] = {}
        self._count: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, kind: str, where: str, message: str, remedy: str) -> None:
        """Record a mistake.

        Args:
            kind: Key that all mistakes of its kind share.
            where: File, and line where there is one.
            message: What is wrong there.
            remedy: What to do about it.
        """
        self._first.setdefault(kind, (where, message, remedy))
        self._count[kind] = self._count.get(kind, 0) + 1

    def report_to(self, problems: ProblemList) -> None:
        """Add one problem of each kind."""
        for kind, (where, message, remedy) in self._first.items():
            problems.add(where, f"{message}{and_more(self._count[kind] - 1, self._what)}", remedy)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Join names by commas, the first few of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
