"""`prepare.json`: settings, sources and finished parts of a prepared folder.

It lets a killed run go on, and keeps runs with different settings apart.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import file_lock, replace_file

STATE_FILE = "prepare.json"
_LOCK = ".prepare.lock"

VERSION = 2
"""Version of the folders: from 2 on, frames are numbered by time and sources are known by their bytes."""

_TABLES = ("settings", "sources", "done")


def check_folders(source: Path, target: Path, made: Sequence[str]) -> None:
    """Check that the source exists, and that the target is outside of it and free.

    Args:
        source: Folder or archive to read.
        target: Folder to write.
        made: Names in the target that the command makes; unless it made them, they may not be there.

    Raises:
        DataMissingError: There is no source.
        UsageError: The target lies in the source, or holds other things.
    """
    if not source.exists():
        raise DataMissingError(f"{source} doesn't exist", "Name the folder of the originals: --source DIR")
    real_source, real_target = source.resolve(), target.resolve()
    if real_source == real_target or real_source in real_target.parents:
        raise UsageError(
            f"{target} lies within the source {source}, which is never written to",
            "Keep the originals elsewhere, or name another data root: --data DIR",
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} isn't a folder", "Name another data root: --data DIR")
    if not (target / STATE_FILE).exists():
        for name in made:
            if (target / name).exists():
                raise UsageError(
                    f"{target / name} is there already, and wasn't made by this command",
                    "Move it away, or name another data root: --data DIR",
                )


@contextlib.contextmanager
def filling(target: Path) -> Iterator[None]:
    """Keep other processes from filling a folder meanwhile; it is made, and removed if nothing got into it.

    Raises:
        UsageError: Another process fills it.
    """
    made = [folder for folder in (target, *target.parents) if not folder.exists()]
    target.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(
            target / _LOCK,
            f"{target} is being filled by another process",
            "Wait for it and type the same line again, or name another data root: --data DIR",
            timeout=0,
            remove=True,
        ):
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # Something is in it, as a rule.
                folder.rmdir()


class PreparationState:
    """The contents of `prepare.json`; every change is written at once.

    Args:
        target: Folder that is prepared; made if it isn't there.
        command: Name of the preparation, such as `disfa`.
        settings: Every setting that changes the output.

    Raises:
        UsageError: The folder was prepared with other settings, or by another version.
        DataFormatError: The file can't be read.
    """

    def __init__(self, target: Path, command: str, settings: Mapping[str, Any]) -> None:
        self._path = target / STATE_FILE
        self._content: dict[str, Any] = {
            "made_by": f"comface-bench data prepare {command}",
            "version": VERSION,
            "settings": dict(settings),
            "sources": {},
            "done": {},
        }
        if self._path.exists():
            found = self._read()
            _compare(self._content, found, self._path)
            self._content = found
        else:
            target.mkdir(parents=True, exist_ok=True)
            self._write()

    def begin(self, parts: Mapping[str, Mapping[str, str | int]]) -> None:
        """Record the sources of the parts.

        Args:
            parts: Facts, such as the file's name and size, by part, such as a subject.

        Raises:
            UsageError: A part was begun with other facts.
        """
        sources = self._content["sources"]
        for name, facts in parts.items():
            if sources.setdefault(name, dict(facts)) != facts:
                raise UsageError(
                    f"{self._path}: {name} was made from {_words(sources[name])}, "
                    f"but the source now has {_words(facts)}",
                    "Give the same source, or name another data root: --data DIR",
                )
        self._write()

    def done(self, name: str) -> dict[str, Any] | None:
        """Return the facts recorded when a part was finished, or None if it isn't."""
        found: dict[str, Any] | None = self._content["done"].get(name)
        return found

    def finish(self, name: str, **facts: Any) -> None:
        """Record that a part is finished."""
        self._content["done"][name] = facts
        self._write()

    def _write(self) -> None:
        text = json.dumps(self._content, indent=1, ensure_ascii=False) + "\n"
        replace_file(self._path, text.encode())

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes())
            if isinstance(found, dict) and all(isinstance(found[key], dict) for key in _TABLES):
                return found
        except (ValueError, KeyError):
            pass
        raise DataFormatError(
            f"{self._path}: not a state of `data prepare`", "Name another data root: --data DIR"
        )


def _words(facts: Mapping[str, str | int]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _compare(ours: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    if ours["made_by"] != found.get("made_by"):
        raise UsageError(f"{path}: this folder was made by {found.get('made_by')}")
    again = (
        f"name another data root (--data DIR), or move {os.path.normpath(path.parent)} away to begin anew."
    )
    if found.get("version", 1) != VERSION:
        raise UsageError(
            f"{path}: this folder was prepared by another version of comface-bench, which may have numbered"
            " frames otherwise",
            again[0].upper() + again[1:],
        )
    wanted, before = ours["settings"], found["settings"]
    # Through JSON, since a tuple comes back as a list.
    changed = [
        f"{key} was {before.get(key)}, now {wanted.get(key)}"
        for key in dict.fromkeys([*wanted, *before])
        if json.dumps(wanted.get(key), sort_keys=True) != json.dumps(before.get(key), sort_keys=True)
    ]
    if changed:
        raise UsageError(
            f"{path}: this folder was prepared with other settings: {'; '.join(changed)}",
            f"Give the same settings to go on, {again}",
        )


Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


def ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""
