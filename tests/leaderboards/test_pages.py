"""Reading and building: the same bytes each time, golden pages, and no file of anybody else touched."""

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comface_bench.core.errors import ResultError, UnknownNameError, UsageError
from comface_bench.core.registry import load_plugin_file
from comface_bench.leaderboards import build, load, pages, readme
from comface_bench.leaderboards.document import COLUMNS, Column, Document
from comface_bench.leaderboards.manifest_writer import PageManifest
from comface_bench.leaderboards.pages import check, family_file, read_document, refresh, render
from comface_bench.leaderboards.report import make_report, report_html
from comface_bench.leaderboards.site import render_site
from comface_bench.results.store import LEADERBOARD


def plain(document):
    """All facts as text, floats in full."""
    return repr(dataclasses.asdict(document))


def test_boards_and_rows_are_in_board_order(filled):
    document = read_document(filled)
    places = [(board.task, board.protocol, board.family) for board in document.boards]
    assert places == [
        ("age", "finetune", "age"),
        ("disfa-au12", "quick", "disfa"),
        ("synth-age", "quick", "synth"),
    ]
    methods = [row.entry.method for row in document.boards[0].rows]
    assert methods == ["scratch+backbone=resnet18", "imagenet", "farl", "comface", "timm/vit"]
    assert document.boards[0].metrics == ("mae", "pearson", "acc")


def test_numbers_are_the_same_in_every_build_and_with_several_processes(filled, document, monkeypatch):
    assert plain(read_document(filled)) == plain(document)
    started = []
    context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: started.append(kind) or context(kind))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(pages, "FEW", 3)
    assert plain(read_document(filled)) == plain(document)
    assert started == ["spawn"]


def test_no_results_make_an_empty_document(tmp_path):
    document = read_document(tmp_path / "none")
    assert (document.boards, document.rankings) == ((), ())


@pytest.mark.parametrize("workers", [1, 2])
def test_predictions_that_are_missing_or_not_the_records_are_named(made, tmp_path, workers):
    made.add(tmp_path, method="a")
    made.add(tmp_path, "synth-age", method="a")
    path = tmp_path / "age" / "finetune" / "a.predictions.csv.gz"
    whole = path.read_bytes()
    text = gzip.decompress(whole).decode()
    path.write_bytes(gzip.compress(text.replace("0-1,", "0-9,", 1).encode()))
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        read_document(tmp_path, workers=workers)
    path.write_bytes(whole[:-9])
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        read_document(tmp_path)
    path.unlink()
    with pytest.raises(ResultError, match=r"a\.predictions\.csv\.gz"):
        read_document(tmp_path)


def test_a_file_that_is_no_record_is_named(made, tmp_path):
    made.add(tmp_path, method="a")
    (tmp_path / "age" / "finetune" / "a.json").write_text("{}")
    with pytest.raises(ResultError, match=r"a\.json"):
        read_document(tmp_path)


def test_order_of_the_files_does_not_matter(made, tmp_path):
    for method in ("a", "b", "c"):
        made.add(tmp_path / "one", method=method, noise=ord(method) - 96)
    for method in ("c", "a", "b"):
        made.add(tmp_path / "two", method=method, noise=ord(method) - 96)
    assert plain(read_document(tmp_path / "one")) == plain(read_document(tmp_path / "two"))


def test_load(filled):
    frame = load(filled)
    assert len(frame) == 8
    row = frame[(frame.method == "timm/vit") & (frame.task == "age")].iloc[0]
    assert (row.complete, row.folds_done, row.folds, row.failures, row.n_pairs) == (False, 1, 2, 1, 8)
    constant = frame[(frame.method == "timm/vit") & (frame.task == "synth-age")].iloc[0]
    assert constant.pearson != constant.pearson, "NaN where there is no correlation"
    assert frame.dtypes[["mae", "pearson", "constant_pearson"]].eq(float).all()
    assert frame.mae.between(0.08, 8).all()


GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def copied(filled, results):
    """Results that a test may change."""
    shutil.copytree(filled, results)
    return results


def test_golden(golden_results, tmp_path):
    """The committed pages. After a wanted change, write them anew and read the difference:

    UPDATE_GOLDEN=1 pytest tests/leaderboards/test_pages.py -k golden
    """
    build(golden_results, tmp_path / "out", html=False)
    # Which records they are made of changes with the records' form.
    (tmp_path / "out/.pages").unlink()
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(tmp_path / "out", GOLDEN)
    assert tree(tmp_path / "out") == tree(GOLDEN)


def test_the_same_bytes_twice_and_in_any_order(copied, tmp_path):
    first = build(copied, tmp_path / "a")
    times = {path: path.stat().st_mtime_ns for path in first}
    assert build(copied, tmp_path / "a") == first
    assert {path: path.stat().st_mtime_ns for path in first} == times, "nothing is written without a change"
    for path in sorted(copied.rglob("*.json"), reverse=True):
        path.write_bytes(path.read_bytes())
    build(str(copied), str(tmp_path / "b"))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    found = {path for path in (tmp_path / "a").rglob("*") if path.is_file() and path.name != ".pages"}
    assert first == sorted(found)


def test_every_page_is_there(filled, tmp_path):
    build(filled, tmp_path)
    files = set(tree(tmp_path))
    assert {"README.md", "overall.md", "leaderboard.csv", "leaderboard.json", "html/index.html"} <= files
    assert {"age.md", "disfa.md", "synth.md", "age/finetune.md", "disfa-au12/quick.md"} <= files
    build(filled, tmp_path, html=False)
    assert not (tmp_path / "html").exists()


def test_links_lead_somewhere(filled, tmp_path):
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    build(filled, tmp_path)
    pages = list(tmp_path.rglob("*.md"))
    links = []
    for page in pages:
        for token in parser.parse(page.read_text()):
            for child in token.children or []:
                if child.type == "link_open":
                    links.append(page.parent / child.attrs["href"])
    assert len(links) > len(pages)
    assert [link for link in links if not link.is_file()] == []


def test_the_list_is_one_that_sha256sum_takes(filled, tmp_path):
    out = tmp_path / "out"
    build(filled, out, html=False)
    lines = (out / ".pages").read_text().splitlines()
    assert lines[0].startswith("# records ")
    for line in lines[1:]:
        digest, name = line.split("  ")
        assert digest == sha((out / name).read_bytes())
    assert len(lines) == len(tree(out))


def test_pages_without_records_are_removed_and_nothing_else(copied, tmp_path):
    out = tmp_path / "out"
    build(copied, out, html=False)
    for name in ("out/notes.md", "out/age/mine.md", "precious.md"):
        (tmp_path / name).write_text("mine")
    with (out / ".pages").open("a") as stream:
        stream.write(f"{sha(b'mine')}  ../precious.md\n{sha(b'mine')}  {tmp_path}/precious.md\n")
        stream.write(f"{sha(b'other')}  notes.md\n{sha(b'mine')}  gone.md\nnonsense\n")
    for path in [*copied.glob("age/finetune/*"), *copied.glob("disfa-au12/quick/*")]:
        path.unlink()
    build(copied, out, html=False)
    shared = {".pages", "README.md", "overall.md", "leaderboard.csv", "leaderboard.json"}
    assert set(tree(out)) == shared | {"age/mine.md", "notes.md", "synth.md", "synth-age/quick.md"}
    assert not (out / "disfa-au12").exists()
    assert (tmp_path / "precious.md").exists()


@pytest.mark.parametrize("name", ["README.md", "leaderboard.csv", "leaderboard.json", "html/index.html"])
def test_a_file_of_someone_else_is_not_replaced(filled, tmp_path, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="wasn't written by a build"):
            build(filled, out, force=force)
    assert tree(out) == {name: b"mine"}


@pytest.mark.parametrize("name", ["README.md", "leaderboard.csv"])
def test_a_page_that_someone_changed_is_not_lost(copied, tmp_path, made, name):
    build(copied, tmp_path, html=False)
    edited = (tmp_path / name).read_bytes() + b"my remark\n"
    (tmp_path / name).write_bytes(edited)
    made.add(copied, method="new")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="was changed since"):
        build(copied, tmp_path, html=False)
    assert tree(tmp_path) == before, "nothing is written at all"
    build(copied, tmp_path, html=False, force=True)
    assert b"my remark" not in (tmp_path / name).read_bytes()


def test_a_changed_page_without_records_is_kept_but_forgotten(copied, tmp_path):
    out = tmp_path / "out"
    build(copied, out, html=False)
    (out / "disfa.md").write_text("changed")
    for path in copied.glob("disfa-au12/quick/*"):
        path.unlink()
    build(copied, out, html=False)
    assert (out / "disfa.md").read_text() == "changed"
    assert "disfa.md" not in PageManifest.read(out).digests


def test_a_link_in_the_way_is_refused(copied, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.md"
    build(copied, out, html=False)
    (out / "README.md").rename(elsewhere)
    (out / "README.md").symlink_to(elsewhere)
    (copied / "age/finetune/farl.json").unlink()
    with pytest.raises(UsageError, match=r"README\.md"):
        build(copied, out, html=False)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_that_leads_elsewhere_is_refused(filled, tmp_path, kind):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if kind == "link":
        (out / "age").symlink_to(elsewhere)
    else:
        (out / "age").write_text("mine")
    with pytest.raises(UsageError, match="no folder of its own"):
        build(filled, out, html=False)
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["age"]


def test_no_results(tmp_path):
    build(tmp_path / "none", tmp_path / "out")
    assert "No results yet" in (tmp_path / "out/README.md").read_text()
    assert json.loads((tmp_path / "out/leaderboard.json").read_text())["boards"] == []
    assert len((tmp_path / "out/leaderboard.csv").read_text().splitlines()) == 1


def test_a_broken_record_stops_the_build(results, made, tmp_path):
    made.add(results)
    (results / "age/finetune/scratch.json").write_text("{}")
    with pytest.raises(ResultError, match=r"scratch\.json"):
        build(results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_bytes_in_another_process_which_imports_neither_pandas_nor_torch(golden_results, tmp_path):
    code = (
        "import sys; from comface_bench.leaderboards import build; build(*sys.argv[1:])\n"
        "sys.exit(repr({'torch', 'pandas', 'scipy'} & set(sys.modules) or 0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, golden_results, tmp_path / "a"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert run.stderr.strip() == "0"
    build(golden_results, tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_refresh_builds_only_after_a_change(copied, made, tmp_path, monkeypatch):
    from comface_bench.leaderboards import pages

    built = refresh(copied, tmp_path)
    assert not (tmp_path / "html").exists(), "no site where none was asked for"

    def never(*_, **__):
        raise AssertionError("built again")

    with monkeypatch.context() as patch:
        patch.setattr(pages, "build", never)
        assert refresh(copied, tmp_path) == built
        (tmp_path / "age.md").unlink()
        with pytest.raises(AssertionError, match="built again"):
            refresh(copied, tmp_path)
    made.add(copied, method="new")
    refresh(copied, tmp_path)
    assert "new" in (tmp_path / "age.md").read_text()
    build(copied, tmp_path)
    made.add(copied, method="newer")
    refresh(copied, tmp_path)
    assert b"newer" in (tmp_path / "html/task/age/finetune.html").read_bytes(), "the site is kept fresh too"


def test_check_names_what_differs(copied, made, tmp_path):
    out = tmp_path / "out"
    assert "README.md" in check(copied, out).missing
    assert not out.exists()
    build(copied, out)
    assert check(copied, out).fresh
    before = tree(out)
    (out / "age.md").write_text("changed")
    (out / "synth.md").unlink()
    for path in copied.glob("disfa-au12/quick/*"):
        path.unlink()
    found = check(copied, out)
    assert {"age.md", "README.md", "leaderboard.csv", "leaderboard.json", ".pages"} <= set(found.differing)
    assert found.missing == ("synth.md",)
    assert {"disfa.md", "disfa-au12/quick.md", "html/task/disfa-au12/quick.html"} <= set(found.left_over)
    assert not found.fresh
    assert len(tree(out)) == len(before) - 1, "nothing is written"


def test_check_expects_the_site_only_where_it_is(filled, tmp_path):
    build(filled, tmp_path, html=False)
    assert check(filled, tmp_path).fresh
    assert "html/index.html" in check(filled, tmp_path, html=True).missing
    build(filled, tmp_path)
    assert "html/index.html" in check(filled, tmp_path, html=False).left_over


@pytest.mark.parametrize(
    ("family", "file"),
    [("disfa", "disfa.md"), ("overall", "overall-family.md"), ("Readme", "Readme-family.md")],
)
def test_a_family_has_a_page_of_its_own_whatever_its_name(family, file):
    assert family_file(family) == file


def test_the_committed_pages_table_and_plot_are_fresh(tmp_path, monkeypatch):
    results = ROOT / "leaderboards" / "results"
    document = {results: read_document(results)}
    for module in (pages, readme):
        monkeypatch.setattr(module, "read_document", document.__getitem__)
    found = check(results, results / LEADERBOARD)
    assert found.fresh, f"run: comface-bench leaderboard build --results leaderboards/results; {found}"
    page, plot = tmp_path / "README.md", tmp_path / "board.svg"
    shutil.copy(ROOT / "README.md", page)
    readme.write(results, page, plot)
    assert page.read_bytes() == (ROOT / "README.md").read_bytes()
    assert plot.read_bytes() == (ROOT / "docs" / "images" / "board.svg").read_bytes()


def test_a_column_is_said_once_and_is_in_every_format(filled, document, monkeypatch):
    column = Column(lambda entry: len(entry.method), "Runs", "Letters")
    monkeypatch.setitem(COLUMNS, "letters", column)
    pages = {name: data.decode() for name, data in (render(document) | render_site(document, filled)).items()}
    assert "| Images/s | Letters |" in pages["age/finetune.md"]
    assert ">Letters</th>" in pages["html/task/age/finetune.html"]
    row = next(csv.DictReader(io.StringIO(pages["leaderboard.csv"])))
    line = json.loads(pages["leaderboard.json"])["boards"][0]["rows"][0]
    assert row["letters"] == str(line["letters"]) == str(len(line["method"]))


def test_an_empty_document_has_no_families():
    assert set(render(Document((), ()))) == {"README.md", "overall.md", "leaderboard.csv", "leaderboard.json"}


PLUGIN = """
import numpy as np
from comface_bench.stats.metrics import MetricCard

CARD = MetricCard.mean_of(
    "nine", "Nine (%)", lambda y, yhat: np.abs(y - yhat) <= 9, percent=True, digits=1
)
"""


def test_a_metric_of_a_plugin_file_is_known_to_all_processes_and_missed_by_name(
    results, made, tmp_path, monkeypatch
):
    (tmp_path / "nine.py").write_text(PLUGIN)
    module = load_plugin_file(tmp_path / "nine.py")
    for task in ("age", "synth-age"):
        made.add(results, task, method="a", facts={"metrics": ["mae", "nine"]})
    document = read_document(results, workers=2)
    assert [board.metrics for board in document.boards] == [("mae", "nine")] * 2
    assert plain(document) == plain(read_document(results))
    assert "Nine (%) ↑" in render(document)["age/finetune.md"].decode()
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(UnknownNameError, match=r"a\.json: no metric is called 'nine'") as caught:
        build(results, tmp_path / "out")
    assert "--plugin" in caught.value.hint


def test_a_task_without_a_unit_leaves_no_gap(made, tmp_path):
    for method in "ab":
        made.add(tmp_path, "csv:faces.csv", "probe", method, facts={"unit": "", "target": "pain"})
    built = {path.name: path.read_text() for path in build(tmp_path, tmp_path / "out")}
    built["report.html"] = report_html(make_report(tmp_path, "line", figures=False)).decode()
    gaps = re.compile(r", in ,|\bin ;|, (?=</t[hext]+>)|[0-9] [.,;] ")
    for name, text in built.items():
        if name.endswith((".md", ".html")):
            assert not (found := gaps.search(text)), (name, found)
    assert "Estimated is the change of pain between two images" in built["probe.md"]
    assert "Change of pain; " in built["report.html"]
