"""Which texts a stranger's file may hold, and how any text is shown.

Texts end up in Markdown, HTML, CSV, LaTeX and terminals. Those places escape what they print; that nothing
gets in which would need it is the second wall. Everything is ASCII, so no letter can pass for another.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from comface_bench.submission.limits import NUMBERS_LENGTH, TEXT_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER = re.compile(r"[^A-Za-z0-9 _\-+./,:;'()%=]")
_NUMBERS = re.compile(r"[0-9,]+")
_FORMULA = "=+-@"
_PATH = re.compile(
    r"(?:^|[\s'(=:,;])(?:/|\.\.?/|[A-Za-z]:/|file:)|(?:^|[\s'(=:,;/])(?:home|Users|root|tmp)/|(?:^|/)\.\.(?:/|$)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,/-]{0,119}")
_URL = re.compile(r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?:/[A-Za-z0-9._/%+=-]*)?")
_URL_LENGTH = 300


def text_problem(text: str) -> str | None:
    """Say why a text may not stand in a submission; None if it may."""
    if _NUMBERS.fullmatch(text) and len(text) <= NUMBERS_LENGTH:
        return None
    if len(text) > TEXT_LENGTH:
        return f"a text of {len(text)} characters; at most {TEXT_LENGTH} are taken"
    if found := _OTHER.search(text):
        return f"{describe_character(found[0])} in {show(text)}"
    if text and text[0] in _FORMULA:
        return f"{show(text)} begins like a formula"
    if _PATH.search(text):
        return f"{show(text)} looks like a path"
    return None


def name_problem(name: str) -> str | None:
    """Say why something may not be the name of a method, task or protocol; None if it may."""
    if problem := text_problem(name):
        return problem
    if not _NAME.fullmatch(name) or "//" in name or name.endswith(("/", ".")):
        return f"{show(name)} is no name: up to 120 letters, digits and _ . + = , / - after a letter or digit"
    return None


def url_problem(url: str) -> str | None:
    """Say why something may not be a link; None if it may."""
    if len(url) > _URL_LENGTH:
        return f"a link of {len(url)} characters; at most {_URL_LENGTH} are taken"
    if not url.startswith("https://"):
        return f"{show(url)} doesn't begin with https://"
    if not _URL.fullmatch(url) or "xn--" in url or "/../" in f"{url}/":
        return f"{show(url)} is more than a plain host and path"
    return None


def texts_of(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, text) of all texts in a JSON document, the keys of its objects among them."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield place, key
            yield from texts_of(entry, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from texts_of(entry, f"{place}.{number}" if place else str(number))


def describe_character(character: str) -> str:
    """Name a character, such as `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(character, "a control character")
    shown = f" {character}" if character.isascii() and character.isprintable() else ""
    return f"U+{ord(character):04X} {name}{shown}"


def show(text: str) -> str:
    """Quote a text for a message, in printable ASCII and not longer than a line."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def plain(text: str, length: int = 400) -> str:
    """Write any text as one line of printable ASCII, cut to a length."""
    line = "".join(sign if sign.isascii() and sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return line if len(line) <= length else f"{line[: length - 4]} ..."


def as_markdown(text: str) -> str:
    """Write any text as code in a table of GitHub's Markdown; nothing in it is a tag, link or mention.

    Every sign but letters, digits, blanks and hyphens becomes an entity, which no syntax is read from.
    """
    signs = (
        sign if sign.isascii() and (sign.isalnum() or sign in " -") else f"&#{ord(sign)};"
        for sign in plain(text)
    )
    return f"<code>{''.join(signs)}</code>"
