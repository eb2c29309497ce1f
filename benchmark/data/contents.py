"""Contents of image files: inside the data root, there, and hashed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from comface_bench.core.problems import ProblemList

_CHUNK = 1024
"""Files that one thread hashes in a row; single files would cost more in switching than in hashing."""

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
"""A pipe in place of an image isn't waited for."""

_PLAIN = re.compile(r"(?:[^/.][^/]*/)*[^/.][^/]*", re.DOTALL)
"""Names that need no closer look: no part is empty or begins with a point."""


def digest_contents(root: Path, rows: Sequence[Mapping[str, Any]], problems: ProblemList) -> list[str | None]:
    """Return the SHA-256 of each row's image file, or None where there is a problem with it.

    Args:
        root: Folder that image names are relative to.
        rows: A loader's rows.
        problems: Receives images that leave the root, by `..` or a link, or aren't files.
    """
    names = [_plain_name(root, row, problems) for row in rows]
    folders: dict[str, str | None] = {}
    real_root = os.path.realpath(root)
    # Links are looked up here and not in the threads: one look a folder serves all its images.
    inside = [
        name is not None and _is_inside(root, name, real_root, folders, row, problems)
        for name, row in zip(names, rows, strict=True)
    ]
    paths = [f"{root}/{name}" if here else None for name, here in zip(names, inside, strict=True)]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashed = [content for part in pool.map(_hash_all, chunks) for content in part]
    for row, path, content in zip(rows, paths, hashed, strict=True):
        if path is not None and content is None:
            problems.add(
                row_place(row),
                f"{row['image']} isn't a file under {root}",
                "Put it there, or take the row out.",
            )
    return hashed


def row_place(row: Mapping[str, Any]) -> str:
    """Return where a loader's row comes from, for messages: file and line, else the image's name."""
    return str(row.get("where") or row["image"])


def _plain_name(root: Path, row: Mapping[str, Any], problems: ProblemList) -> str | None:
    text = str(row["image"])
    if _PLAIN.fullmatch(text):
        return text
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts:
        problems.add(row_place(row), f"{name} leaves the data root", f"Name it relative to {root}.")
        return None
    if not name.parts:
        problems.add(row_place(row), f"image {text!r} names no file", "Name one, or take the row out.")
        return None
    if str(name) != text:
        # `./a.jpg` and `a//b.jpg` would let one file stand twice under two names.
        problems.add(row_place(row), f"image {text!r} is written plainly as {str(name)!r}", "Write it so.")
        return None
    return text


def _is_inside(
    root: Path,
    name: str,
    real_root: str,
    folders: dict[str, str | None],
    row: Mapping[str, Any],
    problems: ProblemList,
) -> bool:
    folder = name.rpartition("/")[0]
    if folder not in folders:
        folders[folder] = _resolve_inside(f"{root}/{folder}", real_root)
    path = f"{root}/{name}"
    linked = os.path.islink(path)  # noqa: PTH114 - making a Path takes longer than the look itself
    if folders[folder] is not None and (not linked or _resolve_inside(path, real_root)):
        return True
    problems.add(
        row_place(row),
        f"{name} is a link that leaves the data root",
        "Copy the images, or point --data at the folder that really holds them.",
    )
    return False


def _resolve_inside(path: str, real_root: str) -> str | None:
    real = os.path.realpath(path)
    return real if real == real_root or real.startswith(real_root.rstrip("/") + "/") else None


def _hash_all(paths: Sequence[str | None]) -> list[str | None]:
    return [None if path is None else _hash(path) for path in paths]


def _hash(path: str) -> str | None:
    # Plain calls of the operating system: a data set has a hundred thousand small files.
    try:
        handle = os.open(path, _READ)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        digest = sha256()
        while block := os.read(handle, 1 << 20):
            digest.update(block)
    except OSError:
        return None
    finally:
        os.close(handle)
    return digest.hexdigest()
