"""The documents as a site, built as `docs/conf.py` says, and what its pages hold.

`tests/test_documents.py` has the small twins, which need no Sphinx: links, headings, and the order of pages.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import comface_bench as cb

for package in ("sphinx", "sphinx_book_theme", "myst_nb", "sphinx_external_toc"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""What a browser fetches by itself when it shows a page."""


class Page(HTMLParser):
    """What a page fetches, and what it can be linked to by."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.anchors, self.counts = [], set(), {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if facts.get("id"):
            self.anchors.add(facts["id"])
        if tag in LOADS and facts.get(LOADS[tag]):
            self.fetched.append(facts[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site without running notebooks, which tests of their own do; a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    words = ["-q", "-W", "--keep-going", "-D", "nb_execution_mode=off", "-c", "docs"]
    command = [sys.executable, "-m", "sphinx", *words, "-d", str(out / "trees"), ".", str(out / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {
        path.relative_to(out / "html").as_posix(): path
        for path in (out / "html").rglob("*")
        if path.is_file()
    }


def test_every_page_of_docs_is_a_page_of_the_site(site):
    pages = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - set(site) == set()
    assert {"index.html", "examples/notebooks/your-own.html", "CONTRIBUTING.html"} <= set(site)


def test_no_page_asks_another_server(site):
    for name, path in site.items():
        if name.endswith(".html"):
            fetched = Page(path.read_text(encoding="utf-8")).fetched
            assert fetched or not name.startswith("docs/")
            assert [address for address in fetched if re.match(r"(https?:)?//", address)] == [], name
        if name.endswith(".css"):
            text = path.read_text(encoding="utf-8")
            assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text) == [], name


def test_the_reference_has_every_function_of_the_package(site):
    anchors = Page(site["docs/api.html"].read_text(encoding="utf-8")).anchors
    names = {f"comface_bench.{name}" for name in cb.__all__ if not name.startswith("__")}
    assert names - anchors == set()
    assert {"comface_bench.leaderboards.load", "comface_bench.core.errors.DataFormatError"} <= anchors


def test_pages_are_told_as_a_code_host_does(site):
    """A table that lost its form would be a paragraph full of bars."""
    for path in (ROOT / "docs").rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        tables = len(re.findall(r"^\|(?: ?:?-+:? ?\|)+$", text, re.MULTILINE))
        page = Page(site[path.relative_to(ROOT).with_suffix(".html").as_posix()].read_text(encoding="utf-8"))
        assert page.counts.get("table", 0) == tables, path.name
