"""Names with options: `scratch+backbone=resnet18`, `finetune+image_size=112`, `age+split=leave-one-out`.

An option that differs from the default becomes part of the name, so that results of different
settings lie in different files and never share a row.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping

from comface_bench.core.errors import UnknownNameError, UsageError


def parse_name(text: str) -> tuple[str, dict[str, str]]:
    """Split `base+key=value+key=value` into its base and options.

    Raises:
        UsageError: An option lacks its `=`, or stands twice.
    """
    base, *parts = text.split("+")
    options: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"{text!r}: {part!r} is no option", "Write options as NAME+key=value, or with -o key=value."
            )
        if key in options:
            raise UsageError(f"{text!r} gives {key} twice")
        options[key] = value
    return base, options


def format_name(base: str, options: Mapping[str, object]) -> str:
    """Join a base and its options, sorted by key; the inverse of `parse_name`."""
    return "+".join([base, *(f"{key}={options[key]}" for key in sorted(options))])


def is_pattern(text: str) -> bool:
    """Tell whether a name holds a wildcard of the shell (`*`, `?` or `[`)."""
    return any(sign in text for sign in "*?[")


def split_list(texts: Iterable[str]) -> list[str]:
    """Split comma lists, as in `--method a,b --method c`, into single names in order, without repeats."""
    names = [name.strip() for text in texts for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def match_names(pattern: str, known: Iterable[str], kind: str) -> list[str]:
    """Return the known names that a pattern matches, in their order.

    Raises:
        UnknownNameError: None matches.
    """
    known = list(known)
    found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise unknown_name(pattern, known, kind)
    return found


def unknown_name(name: str, known: Iterable[str], kind: str) -> UnknownNameError:
    """Make the error for a name that isn't known, with the nearest known ones."""
    return UnknownNameError(
        f"no {kind} is called {name!r}.{did_you_mean(name, known)}",
        f"See them all: comface-bench list {kind}s",
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that asks for the nearest known names, in any case; empty if none is near."""
    folded = {one.casefold(): one for one in known}
    if name.casefold() in folded:
        near = [name.casefold()]
    else:
        near = difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(folded[one] for one in near)}?" if near else ""
