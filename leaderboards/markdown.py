"""Markdown that shows names as text, whatever they hold."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL = set("\\`*_[]|~#$!{}")


@functools.lru_cache(maxsize=20_000)
def escape(text: str) -> str:
    r"""Write any text so that Markdown, HTML and bidirectional rendering show it as it is, on one line.

    Characters that can't be seen (line breaks, controls, direction marks) appear as `\u` escapes, and
    nothing is taken for a link, a tag, emphasis or a cell's end.
    """
    # An entity in place of its dot keeps a bare address from becoming a link.
    return re.sub(r"(www)\.", r"\1&#46;", "".join(map(_escape_character, text)), flags=re.IGNORECASE)


def bold(text: str) -> str:
    """Mark the best value."""
    return f"**{text}**"


def underline(text: str) -> str:
    """Mark the second value; code hosts that filter tags let this one through, but not `u`."""
    return f"<ins>{text}</ins>"


def beneath(text: str, small: str) -> str:
    """Put small text on a line of its own under a cell's text; nothing where there is none."""
    return f"{text}<br><sub>{small}</sub>" if small else text


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> list[str]:
    """Write a table's lines; cells are Markdown already.

    Args:
        header: One cell a column.
        rows: Rows as long as the header.
        text_columns: How many columns are left-aligned; the others are right-aligned.
    """
    rule = [":--" if i < text_columns else "--:" for i in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def _escape_character(character: str) -> str:
    if character in _ENTITIES:
        return _ENTITIES[character]
    if character in _SPECIAL:
        return f"\\{character}"
    if character in ":@":
        return f"&#{ord(character)};"
    shown = visible(character)
    return shown if shown == character else f"\\{shown}"


def visible(character: str) -> str:
    r"""Return a character, or its `\u` escape where it can't be seen: a control, a direction mark."""
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
