"""How objects show themselves: in a line, as a table, and hostile names as text."""

import pytest

from comface_bench.core import display
from comface_bench.core.display import (
    MOST_ROWS,
    brief,
    html_facts,
    html_table,
    short_repr,
    text_table,
    visible,
)

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ü", "plain ü"), ("a\nb", "a\\u000ab"), ("\x1b[2J", "\\u001b[2J"), ("\u202e", "\\u202e")],
)
def test_what_cannot_be_seen_is_escaped(text, shown):
    assert visible(text) == shown


def test_brief_is_one_line_of_a_length():
    assert brief("a\n  b") == "a b"
    assert brief("x" * 50, 20) == "x" * 19 + "…"


def test_short_repr():
    assert short_repr("Kind") == "<Kind>"
    assert short_repr("Kind", "name") == "<Kind name>"
    assert short_repr("Kind", "name", "", "2 folds", "\x1b[2J") == "<Kind name: 2 folds, \\u001b[2J>"


def test_html_holds_no_markup_of_others():
    for made in (
        html_table([HOSTILE], [[HOSTILE]], HOSTILE),
        html_facts(HOSTILE, {HOSTILE: HOSTILE}),
    ):
        assert made.count("&lt;script&gt;") == 3
        assert not {"<script", "\x1b", "\u202e"} & {
            part for part in ("<script", "\x1b", "\u202e") if part in made
        }


def test_empty_facts_are_left_out():
    assert "b" not in html_facts("t", {"a": "1", "b": ""}).replace("tbody", "").replace("table", "")


def test_long_tables_say_how_much_is_left_out(monkeypatch):
    monkeypatch.setattr(display, "MOST_ROWS", 2)
    rows = [[f"row {number}"] for number in range(5)]
    assert text_table(["name"], rows).splitlines() == ["name", "row 0", "row 1", "… and 3 more"]
    made = html_table(["name"], rows)
    assert made.count("<tr>") == 3
    assert "… and 3 more" in made
    assert MOST_ROWS > 40, "all methods are shown"
