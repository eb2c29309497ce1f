"""Hostile names are shown as text: checked with a Markdown parser that isn't ours."""

import html
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comface_bench.leaderboards import build
from comface_bench.leaderboards.markdown import escape, table

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


def test_a_page_of_hostile_facts(results, made, tmp_path):
    for i, name in enumerate(HOSTILE):
        facts = dict.fromkeys(["target", "unit", "data", "split"], name)
        made.add(results, method=f"m{i}", group=name, protocol=f"p{i}", facts=facts)
    for path in build(results, tmp_path):
        page = PARSER.render(path.read_text())
        tags = {re.match(r"</?([^\s>]+)", tag)[1].rstrip("/") for tag in re.findall(r"<[^>]*>", page)}
        tags.discard("!--")
        allowed = {
            "h1",
            "h2",
            "p",
            "pre",
            "code",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "em",
            "ul",
            "li",
        }
        assert tags <= allowed | {"strong", "u", "a", "br"}
        links = re.findall(r'href="([^"]*)"', page)
        assert all(re.fullmatch(r"age/p\d+\.md", link) for link in links)
