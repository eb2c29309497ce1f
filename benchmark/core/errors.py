"""Errors that a user can act on.

Each carries a message that names what is wrong and where, and the next command to type.
The command line prints both and exits with the class's status: 2 for usage and missing input,
1 for a unit that failed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class BenchError(Exception):
    """Base of every error that comface-bench raises on purpose.

    Args:
        message: What is wrong, with the file, line or name concerned.
        hint: What to do next, a command where there is one; empty if the message says it all.
    """

    exit_status = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(BenchError):
    """An argument, option or override that can't be taken."""


class UnknownNameError(UsageError):
    """A name that no registry knows."""


class DuplicateNameError(UsageError):
    """One name offered by two origins."""


class PluginError(UsageError):
    """A plugin that can't be loaded or breaks the plugin contract."""


class DataMissingError(BenchError):
    """A data set that isn't where it was looked for."""


class DataFormatError(BenchError):
    """A data set that is there but malformed; names the file, and the line where there is one."""


class SplitError(BenchError):
    """Folds that overlap, miss a subject, or don't fit the manifest."""


class WeightsMissingError(BenchError):
    """A checkpoint that isn't where it was looked for."""


class WeightsFormatError(BenchError):
    """A checkpoint that doesn't fit the network it is loaded into, or may not be loaded."""


class MissingExtraError(BenchError):
    """A package of an optional extra that isn't installed."""


class ResultError(BenchError):
    """A result file that is malformed, or contradicts itself."""


class StorageError(BenchError, OSError):
    """A file that can't be written for lack of room: a full disk, a used-up quota, a limit on its size."""


class UnlikePhotoError(BenchError):
    """A photograph that a model gives no answer for: unreadable, or unlike those that it learnt from."""

    exit_status = 1


class UnitError(BenchError):
    """A unit whose outcome is no result: a constant prediction, a loss that isn't finite."""

    exit_status = 1


def describe_error(error: BaseException) -> str:
    """Return what an error says, after its class where it isn't ours, in characters that any file takes.

    What it says may be code of a plugin that fails itself, and may hold bytes of a file's name that are no
    text.
    """
    if isinstance(error, BenchError):
        return as_text(error.message)
    kind = type(error).__name__
    try:
        said = str(error)
    except Exception:
        return kind
    return as_text(f"{kind}: {said}" if said else kind)


def as_text(message: str) -> str:
    """Return a message in which bytes that are no text are written out in hexadecimal digits."""
    return message.encode(errors="backslashreplace").decode()


ELSEWHERE = "PATH"
"""What stands in a message for a place of the machine that isn't one of the suite's own folders."""


def hide_paths(text: str, folders: Mapping[Path, str]) -> str:
    """Take the places of this machine out of a message, so that it can be shared: they may name people.

    A known folder becomes its name, and what lies below it stays (`DATA/images/1.png`). Any other absolute
    path becomes `PATH`, with its blanks where it exists or stands in quotes. Relative paths, addresses of the
    web, fractions and the like stay.

    Args:
        text: A message.
        folders: Known folders, relative or absolute, and the names that stand for them.
    """
    spelled = {
        spelling: name
        for folder, name in folders.items()
        for spelling in (os.path.realpath(folder), str(folder.absolute()), str(folder))
    }
    # The longest first: a known folder may lie in another one.
    for spelling in sorted(spelled, key=len, reverse=True):
        if spelling == "." or spelling == Path(spelling).anchor:
            continue
        # A relative one may be any word; it counts where something lies below it.
        end = r"(?!\w|[.-]\w)" if Path(spelling).is_absolute() else r"(?=[/\\])"
        text = re.sub(rf"(?<![\w./\\~-]){re.escape(spelling)}{end}", spelled[spelling], text)
    shown, place = "", 0
    for start in _ABSOLUTE.finditer(text):
        if start.start() >= place:
            shown += text[place : start.start()] + ELSEWHERE
            place = _path_end(text, start)
    return shown + text[place:]


_ABSOLUTE = re.compile(
    r"""
    (?<![\w./\\~<)\]}-])                # no part of a relative path, a fraction or a tag
    (?:file:(?://)?)?
    (?P<path> (?:/|(?<!:)/{2,})(?=[^/\s])  # but for the two of an address
            | [A-Za-z]:[\\/]
            | \\\\(?=\w) )
    """,
    re.VERBOSE,
)
_PART = re.compile(r"[^\s'\":,;)\]}>]*")
_BREAK = re.compile(r"[/\\\s'\":,;)\]}>]|$")


def _path_end(text: str, start: re.Match[str]) -> int:
    """Return where a path ends: at its closing quote, else with the word that goes on from what exists."""
    before = text[: start.start()][-1:]
    line_end = text.find("\n", start.end()) % (len(text) + 1)  # that of the text, if there is none
    if before in ("'", '"') and (closing := text.find(before, start.end(), line_end)) > 0:
        return closing
    begin = start.start("path")
    ends = [found.start() for found in _BREAK.finditer(text, start.end(), line_end)]
    end = max((end for end in ends if os.path.lexists(text[begin:end])), default=start.end())
    word = _PART.match(text, end)
    assert word is not None
    return word.end()
