"""How objects show themselves: in a line or two on a terminal, as a small table in a notebook.

Names and texts may come out of anybody's files. What can't be seen is written as its escape, and for HTML
every text is escaped, so that nothing of a record is obeyed by a terminal or run by a browser.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

MOST_ROWS = 60
"""Rows that a table shows; of more, so many at its beginning and the number of the others."""
_LONGEST = 120
"""Characters of a text in a line."""


def visible(text: str) -> str:
    r"""Replace characters that can't be seen (line breaks, controls, direction marks) by `\u` escapes.

    The text may still hold HTML or Markdown: it isn't escaped for either.
    """
    # Printable is what is neither a control, a format character nor a separator, plain spaces aside.
    return text if text.isprintable() else "".join(map(_visible_character, text))


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 record` or `2 records`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def with_unit(text: str, unit: str, link: str = " ") -> str:
    """Return a number or the name of a quantity with its unit; alone where nobody has given one."""
    return f"{text}{link}{unit}" if unit else text


def _visible_character(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def brief(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line, cut off where it is longer than so many characters."""
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1].rstrip()}…"


def short_repr(kind: str, *facts: str) -> str:
    """Write what `repr` says of an object: `<KIND first: second, third>`, each fact on one line."""
    name, *rest = [brief(fact) for fact in facts if fact] or [""]
    said = f"{name}: {', '.join(rest)}" if rest else name
    return f"<{kind} {said}>" if said else f"<{kind}>"


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of plain text, columns aligned, as `repr` shows it."""
    shown = [[brief(cell, 60) for cell in row] for row in (headings, *rows[:MOST_ROWS])]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    return "\n".join([*lines, *_others(len(rows))])


def html_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", numbers: Iterable[str] = ()
) -> str:
    """Write a table of HTML, every text escaped.

    Args:
        headings: Of the columns.
        rows: Their cells, texts.
        title: Stands above; empty for none.
        numbers: Headings of columns that are aligned to the right.
    """
    right = [heading in set(numbers) for heading in headings]
    above = f"<caption>{_html(title)}</caption>" if title else ""
    head = "".join(_cell("th", heading, number) for heading, number in zip(headings, right, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', text, number) for text, number in zip(row, right, strict=True))}</tr>"
        for row in rows[:MOST_ROWS]
    )
    below = "".join(f"<p>{_html(line)}</p>" for line in _others(len(rows)))
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def html_facts(title: str, facts: Mapping[str, str]) -> str:
    """Write facts as a table of HTML, a fact a row, every text escaped; empty ones are left out."""
    rows = "".join(
        f"<tr>{_cell('th', name, False)}{_cell('td', text, False)}</tr>"
        for name, text in facts.items()
        if text
    )
    return f"<table><caption>{_html(title)}</caption><tbody>{rows}</tbody></table>"


def _others(rows: int) -> list[str]:
    return [f"… and {rows - MOST_ROWS} more"] if rows > MOST_ROWS else []


def _cell(tag: str, text: str, number: bool) -> str:
    return f'<{tag} style="text-align: {"right" if number else "left"}">{_html(text)}</{tag}>'


def _html(text: str) -> str:
    import html

    return html.escape(visible(text))
