"""Numbers as tables have them: 60.5, 60,5, 1,031.5, 1.031,5 or 1 031.

A comma in a number may set decimals or thousands apart. One cell often doesn't tell (1,031), but its column
may: beside 60,5 it is 1.031, beside 1,204.5 it is 1031. What the column doesn't tell is refused, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_THOUSANDS_BY_COMMA = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_THOUSANDS_BY_POINT = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]+)?")
_DECIMALS_BY_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS_BY_BLANK = re.compile(r"[+-]?[0-9]{1,3}([ \u00a0\u2009\u202f'’][0-9]{3})+([.,][0-9]+)?")
_OTHER_SIGNS = str.maketrans("０１２３４５６７８９．，＋－−", "0123456789.,+--")
"""Full-width signs, and the minus sign of typesetting."""


def parse_number(text: str) -> float | None:
    """Return the decimal number that a text writes, or None; `nan`, `inf`, `1_0` and `1,5` are none."""
    return float(text) if _PLAIN.fullmatch(text) else None


class ColumnNumbers:
    """The numbers of one column, and the way in which they are written.

    Args:
        cells: All cells of the column; those that are no number decide nothing.
        separator: What stands between the table's cells. Where that isn't a comma, commas tend to be decimal,
            and 1.031 doesn't tell.

    Attributes:
        found: Whether any cell looks like a number.
    """

    def __init__(self, cells: Iterable[str], separator: str = ",") -> None:
        texts = {_tidy(text) for text in cells}
        by_comma = {text for text in texts if _has_decimal_comma(text)}
        grouped = {text for text in texts if _THOUSANDS_BY_COMMA.fullmatch(text)}
        plain = {text for text in texts if _PLAIN.fullmatch(text)}
        self.found = bool(by_comma or grouped or plain)
        # What only one reading takes decides.
        commas_decimal, commas_thousands = by_comma - grouped, grouped - by_comma
        points_thousands = any(_is_certain_thousands(text) for text in commas_decimal)
        pointed = {text for text in plain if not text.lstrip("+-").isdecimal()}
        doubtful = {text for text in pointed if _THOUSANDS_BY_POINT.fullmatch(text)}
        self._decimal = ""
        self._doubtful: set[str] = set()
        if commas_decimal and not commas_thousands and pointed <= (doubtful if points_thousands else set()):
            self._decimal = ","
        elif not commas_decimal and (commas_thousands or not grouped):
            self._decimal = "."
        if self._decimal != "," and (commas_decimal or (separator != "," and pointed == doubtful)):
            self._doubtful = doubtful

    def parse(self, text: str) -> float | None:
        """Return the number that a cell of the column writes, or None if it is none or can't be told."""
        text = _tidy(text)
        if self._decimal == ",":
            if _has_decimal_comma(text) or _THOUSANDS_BY_POINT.fullmatch(text):
                return float(text.replace(".", "").replace(",", "."))
        elif self._decimal == "." and _THOUSANDS_BY_COMMA.fullmatch(text):
            return float(text.replace(",", ""))
        return None if text in self._doubtful else parse_number(text)

    def mistake(self, text: str) -> tuple[str, str]:
        """Return what is wrong with a cell that `parse` can't read, and what to write.

        Args:
            text: The cell, not empty.

        Returns:
            The end of a sentence that begins with the cell, and the remedy.
        """
        tidy = _tidy(text)
        ways = []
        if _THOUSANDS_BY_COMMA.fullmatch(tidy):
            ways.append(tidy.replace(",", ""))
        if _has_decimal_comma(tidy) or tidy in self._doubtful:
            ways.append(tidy.replace(".", "").replace(",", "."))
        if tidy in self._doubtful:
            ways.append(tidy)
        if len(ways) == 2:
            return f"which is {ways[0]} or {ways[1]}", f"Write {ways[0]} or {ways[1]}, whichever it is."
        if not ways:
            return "not a number", "Write a number such as 60.5, without a unit."
        what = "decimals with a point" if _has_decimal_comma(tidy) else "thousands without a comma"
        return "not a number", f"Write {what}: {ways[0]}"

    def way(self, cells: Iterable[str]) -> str:
        """Return an example of how cells are read if that isn't as plain numbers, else an empty text."""
        for text in cells:
            number = self.parse(text)
            if number is not None and parse_number(text) != number:
                return f"{text} is {number:.15g}"
        return ""


def _tidy(text: str) -> str:
    """Return a number in plain signs, thousands not set apart by blanks or apostrophes."""
    plain = text.translate(_OTHER_SIGNS)
    return re.sub(r"[ \u00a0\u2009\u202f'’]", "", plain) if _THOUSANDS_BY_BLANK.fullmatch(plain) else plain


def _has_decimal_comma(text: str) -> bool:
    return bool(_DECIMALS_BY_COMMA.fullmatch(text)) or _is_certain_thousands(text)


def _is_certain_thousands(text: str) -> bool:
    """Return whether points set thousands apart for certain: 1.031,5 or 1.204.031."""
    return bool(_THOUSANDS_BY_POINT.fullmatch(text)) and ("," in text or text.count(".") > 1)
