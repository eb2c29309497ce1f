"""`report` as it is typed."""

import re
import sys

import pytest

from comface_bench.core.errors import MissingExtraError
from comface_bench.leaderboards.report import require_weasyprint


@pytest.fixture
def results(made, tmp_path):
    made.add(tmp_path / "results", method="farl")
    made.add(tmp_path / "results", method="scratch", noise=3.0)
    made.add(tmp_path / "results", "synth-age", method="scratch", noise=3.0)
    return tmp_path / "results"


def test_one_line_writes_one_file(call, results, tmp_path):
    out = tmp_path / "new" / "report.html"
    words = ["report", "--results", results, "--no-figures", "--out", out]
    status, text, err = call(*words, "--task", "age,synth-*", "--method", "scratch", "--title", "Ours & <b>")
    assert (status, text, err) == (0, f"{out}\n", "")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    page = out.read_text()
    assert "<title>Ours &amp; &lt;b&gt;</title>" in page
    line = "comface-bench report --task &#39;age,synth-*&#39; --method scratch "
    line += "--title &#39;Ours &amp; &lt;b&gt;&#39;"
    assert f"{line} --no-figures --out FILE" in page
    assert str(tmp_path) not in page
    assert "synth-age, finetune" in page and "farl</th>" not in page
    # The same line replaces it, by the same bytes.
    assert call(*words, "--task", "age,synth-*", "--method", "scratch", "--title", "Ours & <b>")[0] == 0
    assert out.read_text() == page


@pytest.mark.parametrize(
    ("words", "message", "remedy"),
    [
        (["--out", "report.docx"], "neither .html nor .pdf", "--out report.html"),
        (
            ["--results", "nowhere", "--out", "report.html"],
            "no folder of results nowhere",
            "comface-bench run",
        ),
        (
            ["--method", "farrl", "--out", "report.html"],
            "no method called 'farrl'. Did you mean farl?",
            "",
        ),
        ([], "--out", ""),
        (["--out", "folder.html"], "folder.html is a folder", "--out folder.html/NAME"),
    ],
)
def test_mistakes_write_nothing(call, results, tmp_path, monkeypatch, words, message, remedy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    before = sorted(tmp_path.rglob("*"))
    status, _, err = call("report", "--no-figures", *words)
    assert status == 2
    assert message in err and remedy in err
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_not_installed_is_said_before_the_work(call, results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    monkeypatch.setattr("comface_bench.leaderboards.report.read_document", None)
    status, _, err = call("report", "--results", results, "--out", tmp_path / "report.pdf")
    assert status == 2
    assert re.search(r"needs WeasyPrint.*pip install 'comface-bench\[pdf\]'", err, re.S)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = call("report", "--results", results, "--out", tmp_path / "report.html")
    assert status == 2
    assert re.search(r"need matplotlib.*--no-figures", err, re.S)


def test_pdf_comes_of_the_same_line(call, results, tmp_path):
    try:
        require_weasyprint()
    except MissingExtraError as error:
        pytest.skip(error.message)
    out = tmp_path / "report.PDF"
    words = ["--task", "age", "--method", "farl", "--no-figures", "--out", out]
    assert call("report", "--results", results, *words)[0] == 0
    assert out.read_bytes().startswith(b"%PDF-")
