"""Building: golden pages, the same bytes each time, and no file of anybody else touched."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.leaderboards import build
from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.pages import check, family_file, refresh
from comface_bench.leaderboards.written import Written, write_files
from comface_bench.results.store import LEADERBOARD, ResultStore

GOLDEN = Path(__file__).parent / "golden"


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def kept(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    made.fill(folder)
    return folder


@pytest.fixture
def filled(kept, results):
    """Results that a test may change."""
    shutil.copytree(kept, results)
    return results


def test_golden(results, made, tmp_path):
    """The committed pages. After a wanted change, write them anew and read the difference:

    UPDATE_GOLDEN=1 pytest tests/leaderboards/test_pages.py -k golden
    """
    made.fill_golden(results)
    build(results, tmp_path / "out", html=False)
    # Which records they are made of changes with the records' form.
    (tmp_path / "out/.pages").unlink()
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(tmp_path / "out", GOLDEN)
    assert tree(tmp_path / "out") == tree(GOLDEN)


def test_the_same_bytes_twice_and_in_any_order(filled, tmp_path):
    first = build(filled, tmp_path / "a")
    times = {path: path.stat().st_mtime_ns for path in first}
    assert build(filled, tmp_path / "a") == first
    assert {path: path.stat().st_mtime_ns for path in first} == times, "nothing is written without a change"
    for path in sorted(filled.rglob("*.json"), reverse=True):
        path.write_bytes(path.read_bytes())
    build(str(filled), str(tmp_path / "b"))
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


def test_pages_without_records_are_removed_and_nothing_else(filled, tmp_path):
    out = tmp_path / "out"
    build(filled, out, html=False)
    for name in ("out/notes.md", "out/age/mine.md", "precious.md"):
        (tmp_path / name).write_text("mine")
    with (out / ".pages").open("a") as stream:
        stream.write(f"{sha(b'mine')}  ../precious.md\n{sha(b'mine')}  {tmp_path}/precious.md\n")
        stream.write(f"{sha(b'other')}  notes.md\n{sha(b'mine')}  gone.md\nnonsense\n")
    for path in [*filled.glob("age/finetune/*"), *filled.glob("disfa-au12/quick/*")]:
        path.unlink()
    build(filled, out, html=False)
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
def test_a_page_that_someone_changed_is_not_lost(filled, tmp_path, made, name):
    build(filled, tmp_path, html=False)
    edited = (tmp_path / name).read_bytes() + b"my remark\n"
    (tmp_path / name).write_bytes(edited)
    made.add(filled, method="new")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="was changed since"):
        build(filled, tmp_path, html=False)
    assert tree(tmp_path) == before, "nothing is written at all"
    build(filled, tmp_path, html=False, force=True)
    assert b"my remark" not in (tmp_path / name).read_bytes()


def test_a_changed_page_without_records_is_kept_but_forgotten(filled, tmp_path):
    out = tmp_path / "out"
    build(filled, out, html=False)
    (out / "disfa.md").write_text("changed")
    for path in filled.glob("disfa-au12/quick/*"):
        path.unlink()
    build(filled, out, html=False)
    assert (out / "disfa.md").read_text() == "changed"
    assert "disfa.md" not in Written.read(out).digests


def test_a_link_in_the_way_is_refused(filled, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.md"
    build(filled, out, html=False)
    (out / "README.md").rename(elsewhere)
    (out / "README.md").symlink_to(elsewhere)
    (filled / "age/finetune/farl.json").unlink()
    with pytest.raises(UsageError, match=r"README\.md"):
        build(filled, out, html=False)


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


def test_nothing_is_removed_through_a_link(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    write_files({"a/b.md": b"1"}, out, "")
    (out / "a").rename(elsewhere)
    (out / "a").symlink_to(elsewhere)
    write_files({}, out, "")
    assert (elsewhere / "b.md").exists()


def test_after_a_cut_off_write_all_that_is_there_is_known(tmp_path, monkeypatch):
    out = tmp_path
    write_files({"a.md": b"1", "b.md": b"1"}, out, "old")
    from comface_bench.leaderboards import written

    whole = written._write

    def cut_off(path, data):
        if path.name == "b.md":
            raise KeyboardInterrupt
        whole(path, data)

    monkeypatch.setattr(written, "_write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_files({"a.md": b"2", "b.md": b"2"}, out, "new")
    monkeypatch.undo()
    assert Written.read(out).stamp == ""
    write_files({"a.md": b"3", "b.md": b"3"}, out, "newer")
    assert (out / "a.md").read_bytes() == (out / "b.md").read_bytes() == b"3"
    assert Written.read(out).stamp == "newer"


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


def test_building_imports_neither_pandas_nor_torch(results, made, tmp_path):
    made.add(results)
    code = (
        "import sys; from comface_bench.leaderboards import build; build(*sys.argv[1:])\n"
        "sys.exit(repr({'torch', 'pandas', 'scipy'} & set(sys.modules) or 0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, results, tmp_path / "out"], capture_output=True, text=True
    )
    assert run.stderr.strip() == "0"


def test_refresh_builds_only_after_a_change(filled, made, tmp_path, monkeypatch):
    from comface_bench.leaderboards import pages

    built = refresh(filled, tmp_path)
    assert not (tmp_path / "html").exists(), "no site where none was asked for"

    def never(*_, **__):
        raise AssertionError("built again")

    with monkeypatch.context() as patch:
        patch.setattr(pages, "build", never)
        assert refresh(filled, tmp_path) == built
        (tmp_path / "age.md").unlink()
        with pytest.raises(AssertionError, match="built again"):
            refresh(filled, tmp_path)
    made.add(filled, method="new")
    refresh(filled, tmp_path)
    assert "new" in (tmp_path / "age.md").read_text()
    build(filled, tmp_path)
    made.add(filled, method="newer")
    refresh(filled, tmp_path)
    assert b"newer" in (tmp_path / "html/task/age/finetune.html").read_bytes(), "the site is kept fresh too"


def test_check_names_what_differs(filled, made, tmp_path):
    out = tmp_path / "out"
    assert "README.md" in check(filled, out).missing
    assert not out.exists()
    build(filled, out)
    assert check(filled, out).fresh
    before = tree(out)
    (out / "age.md").write_text("changed")
    (out / "synth.md").unlink()
    for path in filled.glob("disfa-au12/quick/*"):
        path.unlink()
    found = check(filled, out)
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


def test_the_committed_pages_are_fresh():
    results = Path(__file__).parents[2] / "leaderboards" / "results"
    if not ResultStore(results).paths():
        pytest.skip("no record is committed yet")
    found = check(results, results / LEADERBOARD)
    assert found.fresh, f"run: comface-bench leaderboard build --results leaderboards/results; {found}"


def test_an_empty_document_has_no_families():
    from comface_bench.leaderboards.pages import render

    assert set(render(Document((), ()))) == {"README.md", "overall.md", "leaderboard.csv", "leaderboard.json"}
