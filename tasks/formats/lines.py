"""Text files as people have them: with or without byte-order mark, in either line ending."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comface_bench.core.errors import DataFormatError


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
