"""A small site, and a reader of its pages that isn't the browser."""

import dataclasses
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.site import render_site

VOID = {"meta", "link", "br", "hr", "img", "input"}
# HTML lets these end by themselves; the pages end every element, so that balance can be checked.
HOSTILE = [
    "<script>alert(1)</script>",
    "a|b||c",
    "`code`",
    '"onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "\u202eevil\u2066\u200f",
    "two\nlines\r\t",
    "&lt;b&gt;",
    "{{ 7 * 7 }}{% if %}",
    "../../up",
    "=cmd()",
]


class Page(HTMLParser):
    """Elements with their attributes, words and tables; refuses what isn't balanced."""

    def __init__(self, data):
        super().__init__(convert_charrefs=True)
        self.stack, self.elements, self.words, self.tables = [], [], [], {}
        self._table, self._row, self._cell, self._heading = None, None, None, ""
        self.feed(data.decode())
        self.close()
        assert self.stack == [], self.stack

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self._table = []
            self.tables[self.region] = self._table
        if tag == "tr":
            self._row = []
        if tag in ("td", "th"):
            self._cell = []

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.stack or tag in VOID, tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack, tag
        assert self.stack.pop() == tag
        if tag in ("td", "th"):
            self._row.append(" ".join("".join(self._cell).split()))
            self._cell = None
        if tag == "tr":
            self._table.append(self._row)

    def handle_data(self, data):
        if self.stack and self.stack[-1] in ("script", "style"):
            assert not data.strip()
        self.words.append(data)
        # Small print and titles of marks are no values.
        if self._cell is not None and not {"small", "svg", "abbr"} & set(self.stack):
            self._cell.append(data)

    @property
    def region(self):
        named = [attrs["aria-labelledby"] for tag, attrs in self.elements if attrs.get("role") == "region"]
        return f"{named[-1] if named else ''}:{sum(tag == 'table' for tag, _ in self.elements)}"

    @property
    def text(self):
        return "".join(self.words)

    def table(self, name):
        """Return the rows of the table in a region, each a list of texts."""
        (found,) = [rows for key, rows in self.tables.items() if key.startswith(f"{name}:")]
        return found

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def rename(document, names):
    """Give methods of a document other names; theirs is no record then."""

    def entry(old):
        return dataclasses.replace(old, method=names.get(old.method, old.method))

    boards = tuple(
        dataclasses.replace(
            board,
            rows=tuple(dataclasses.replace(row, entry=entry(row.entry)) for row in board.rows),
            best={metric: names.get(best, best) for metric, best in board.best.items()},
            pairs={
                (names.get(a, a), names.get(b, b)): difference for (a, b), difference in board.pairs.items()
            },
        )
        for board in document.boards
    )
    rankings = tuple(
        dataclasses.replace(
            ranking, standings={names.get(name, name): one for name, one in ranking.standings.items()}
        )
        for ranking in document.rankings
    )
    return Document(boards, rankings)


@pytest.fixture(scope="session")
def site(made, tmp_path_factory):
    """Results with all kinds of rows, their document, and their pages."""
    results = tmp_path_factory.mktemp("site") / "results"
    made.fill(results)
    for task in ("synth-age", "disfa-au12"):
        made.add(results, task, "quick", method="farl", group="Facial Representation Learning", noise=2.0)
        made.add(results, task, "quick", method="comface", group="Facial Representation Learning", noise=1.0)
    for task in ("disfa-au1", "disfa-au4"):
        made.add(results, task, "quick", method="scratch", noise=4.0)
        made.add(results, task, "quick", method="farl", group="Facial Representation Learning", noise=2.5)
    # Of two digits before the point, so that sorting as text would be seen.
    made.add(results, method="simclr", group="Visual Representation Learning", noise=30.0)
    document = read_document(results)
    return SimpleNamespace(results=results, document=document, pages=render_site(document, results))


@pytest.fixture(scope="session")
def hostile(made, tmp_path_factory):
    """A site whose names and facts are all hostile."""
    results = tmp_path_factory.mktemp("hostile") / "results"
    for index, name in enumerate(HOSTILE):
        facts = {"data": name, "target": name, "unit": name, "card": {"overlaps": [name]}}
        made.add(results, method=f"m{index}", group=name, facts=facts, trained_on=[name], noise=1.0 + index)
    document = rename(read_document(results), {f"m{index}": name for index, name in enumerate(HOSTILE[:-2])})
    return SimpleNamespace(
        results=results, document=document, pages=render_site(document, results), names=HOSTILE
    )


@pytest.fixture(scope="session")
def read():
    return Page
