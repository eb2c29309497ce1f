"""Where pages are, and how one page refers to another."""

from __future__ import annotations

from urllib.parse import quote

from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.results.store import file_stem

FOLDER = "html"
INDEX = "index.html"
STYLE = "style.css"
SCRIPT = "script.js"


def stem(name: str) -> str:
    """Return a file name for any name: its own, or a digest where it can't be one."""
    try:
        return file_stem(name)
    except UsageError:
        return f"digest-{digest(name)[:16]}"


def family_place(family: str) -> str:
    """Return where a family's page is, relative to the site's folder."""
    return f"family/{stem(family)}.html"


def board_place(task: str, protocol: str) -> str:
    """Return where a board's page is, relative to the site's folder."""
    return f"task/{stem(task)}/{stem(protocol)}.html"


def record_place(task: str, protocol: str, method: str) -> str:
    """Return where a record's page is, relative to the site's folder."""
    return f"task/{stem(task)}/{stem(protocol)}/{stem(method)}.html"


def link(place: str, here: str) -> str:
    """Return the address of a page as another page refers to it.

    Args:
        place: Where the page is, relative to the site's folder.
        here: Where the referring page is, likewise.
    """
    return "../" * here.count("/") + quote(place, safe="/+=,")
