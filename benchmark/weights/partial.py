"""A file that is still coming in: its bytes, and which version of the server's file they are of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


class PartialFile:
    """The part of a file that has come, at `<target>.part`.

    Beside it, `<target>.part.tag` holds what the server calls its version, so that a later process can
    ask for the rest of the same one.

    Args:
        target: Where the whole file will be.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.tag")

    def size(self) -> int:
        """Return how many bytes have come."""
        return self.path.stat().st_size if self.path.exists() else 0

    def mark(self) -> str:
        """Return the version that they are of, or nothing where it is unknown."""
        return self._tag.read_text() if self._tag.exists() else ""

    def open(self, begun: int, mark: str) -> IO[bytes]:
        """Open for writing after the first `begun` bytes, which are of the version `mark`."""
        # Emptied before the tag changes, and filled after: at no time do bytes lie beside another's tag.
        stream = self.path.open("r+b" if self.path.exists() else "w+b")
        stream.truncate(begun)
        stream.seek(begun)
        if mark:
            self._tag.write_text(mark)
        else:
            self._tag.unlink(missing_ok=True)
        return stream

    def discard(self) -> None:
        """Forget what has come."""
        # Emptied, not removed: whoever fetches holds a lock on it.
        if self.path.exists():
            os.truncate(self.path, 0)
        self._tag.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Put the whole file into its place, durably."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(target)
        self._tag.unlink(missing_ok=True)
