"""Hostile names are shown as text: checked with a Markdown parser that isn't ours."""

import dataclasses
import html
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comface_bench.leaderboards import build
from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.markdown import (
    board_page,
    escape,
    family_page,
    index_page,
    overall_page,
    table,
)
from comface_bench.leaderboards.pages import read_document, render
from comface_bench.leaderboards.paper import family_of
from comface_bench.stats.metrics import MetricValue

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b||c",
    "`code` ``x``",
    "**bold** _em_ __x__ *y* ~~z~~",
    "[text](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "https://example.org www.example.org a@example.org",
    "\\| \\` \\",
    "&lt;b&gt; &amp; &#60;",
    "# heading",
    "<!-- comment -->",
    "=cmd()",
    "$x$ {y}",
    "<a href='x'>",
]
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(text):
    """Return the tags and the text that a browser would show of a table cell."""
    page = PARSER.render("\n".join(table(["A", "B"], [[escape(text), "x"]])))
    first = re.findall(r"<td[^>]*>(.*?)</td>", page, flags=re.DOTALL)
    assert len(first) == 2, page
    return re.findall(r"<[^>]*>", first[0]), html.unescape(first[0])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name):
    assert rendered(name) == ([], name)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip).filter(bool))
@example("a\\")
def test_any_ascii_name_is_text(name):
    assert rendered(name) == ([], name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\r\tc", r"a\u000ab\u000d\u0009c"),
        ("abc\u202edef\u200f", r"abc\u202edef\u200f"),
        ("a\u2028b\u00a0c\x00", r"a\u2028b\u00a0c\u0000"),
        ("\U000e0041", r"\U000e0041"),
        ("größe 顔", "größe 顔"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(name, shown):
    assert rendered(name) == ([], shown)


ALLOWED = set(re.findall(r"\w+", "h1 h2 p pre code table thead tbody tr th td em ul li strong ins a br sub"))
MORE = [
    "a\nb\n\n# c",
    "abc\u202edef",
    "[x]: http://example.org",
    "+cmd",
    "\t=1",
    "</td></tr></table>",
    "1. one",
]


def check_page(text):
    """Parse a page: only our tags, only links to pages, and as many cells in each row as in its heading."""
    page = PARSER.render(text)
    tags = {re.match(r"</?([^\s>]+)", tag)[1].rstrip("/") for tag in re.findall(r"<[^>]*>", page)}
    assert tags - {"!--"} <= ALLOWED
    assert page.count("<!--") == 1
    for link in re.findall(r'href="([^"]*)"', page):
        assert re.fullmatch(r"(\.\./)?[\w.+=-]+(/[\w.+=-]+)?\.(md|csv|json)", link), link
    for block in re.findall(r"<table>.*?</table>", page, flags=re.DOTALL):
        widths = {len(re.findall("<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", block, re.DOTALL)}
        assert len(widths) == 1
    # The parser cuts a row's surplus cells off, so they are counted in the source as well.
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    return page


def test_a_page_of_hostile_facts(results, made, tmp_path):
    for i, name in enumerate(HOSTILE):
        facts = dict.fromkeys(["target", "unit", "data", "split"], name)
        made.add(results, method=f"m{i}", group=name, protocol=f"p{i}", facts=facts)
    for path in build(results, tmp_path / "out", html=False):
        if path.suffix == ".md":
            check_page(path.read_text())


@pytest.fixture(scope="module")
def two_tasks(made, tmp_path_factory):
    results = tmp_path_factory.mktemp("two") / "results"
    made.add(results, "synth-age", "quick", method="a", group="Other")
    made.add(results, "synth-age", "quick", method="b", group="Other", noise=9.0, trained_on=["x"])
    made.add(results, "synth-au1", "quick", method="a", group="Other", constant=True)
    for task in ("synth-age", "synth-au1"):
        made.add(results, task, "quick", method="c", group="Other", noise=3.0)
    return read_document(results)


@pytest.mark.parametrize("name", [*HOSTILE, *MORE])
def test_hostile_names_anywhere_in_a_document(name, two_tasks):
    texts = dict.fromkeys(["method", "group", "kind", "data", "target", "unit", "split", "licence"], name)
    boards = []
    for board in two_tasks.boards:
        rows = []
        for row in board.rows:
            entry = dataclasses.replace(
                row.entry, **texts, training_scale=name, trained_on=(name,), overlap=(name,), protocol=name
            )
            cell = row.cells["mae"]
            reasoned = dataclasses.replace(cell, value=MetricValue(None, name), rank=None, to_best=None)
            rows.append(dataclasses.replace(row, entry=entry, cells=dict(row.cells) | {"acc": reasoned}))
        boards.append(dataclasses.replace(board, rows=tuple(rows), best=dict.fromkeys(board.metrics, name)))
    ranking = two_tasks.rankings[-1]
    standings = {f"{name}{i}": one for i, one in enumerate(ranking.standings.values())}
    named = dataclasses.replace(
        ranking, tasks=(name, "x"), standings=standings, friedman=MetricValue(None, name)
    )
    hostile = Document(tuple(boards), (named,))
    plain = re.sub(r"\s", "", name.replace("\u202e", ""))
    for path, data in render(hostile).items():
        if path.endswith(".md"):
            page = check_page(data.decode())
            shown = re.sub(r"\s", "", html.unescape(re.sub(r"<[^>]*>", "", page)))
            spelled = shown.replace("\\u000a", "").replace("\\u202e", "").replace("\\u0009", "")
            assert plain in spelled, path


@pytest.mark.parametrize("name", [*HOSTILE, *MORE])
def test_hostile_tasks_and_protocols(name, two_tasks):
    board = two_tasks.boards[-1]
    row = board.rows[0]
    row = dataclasses.replace(row, entry=dataclasses.replace(row.entry, task=name, protocol=name))
    board = dataclasses.replace(board, task=name, protocol=name, rows=(row,))
    document, place = Document((board,), ()), {(name, name): "x.md"}
    pages = [
        board_page(board),
        family_page(document, family_of(name), place),
        overall_page(document),
        index_page(document, place, [(name, "x.md")]),
    ]
    for text in pages:
        page = check_page(text)
        assert page.count("<h1>") == 1
        assert len(re.findall("<h2>", page)) == text.count("\n## ")
