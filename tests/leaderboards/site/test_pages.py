"""Every page of a small site: whole, closed to the outside, true to the document, the same each time."""

import dataclasses
import posixpath
import re
from urllib.parse import unquote

import pytest

from comface_bench.leaderboards.document import MARKS, Document
from comface_bench.leaderboards.formatting import visible
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.site import render_site
from comface_bench.stats.metrics import METRICS

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"


def documents(pages):
    return {name: data for name, data in pages.items() if name.endswith(".html")}


def test_all_kinds_of_pages_are_there(site):
    assert {
        "html/index.html",
        "html/style.css",
        "html/script.js",
        "html/family/age.html",
        "html/family/synth.html",
        "html/task/age/finetune.html",
        "html/task/age/finetune/timm__vit.html",
        "html/task/age/finetune/scratch+backbone=resnet18.html",
        "html/task/synth-age/quick/comface.html",
    } <= set(site.pages)
    rows = sum(len(board.rows) for board in site.document.boards)
    assert len(documents(site.pages)) == 1 + 3 + len(site.document.boards) + rows


@pytest.mark.parametrize("kind", ["site", "hostile"])
def test_pages_are_whole_and_closed_to_the_outside(request, read, kind):
    pages = request.getfixturevalue(kind).pages
    for name, data in documents(pages).items():
        page = read(data)
        assert data.startswith(b"<!-- Written by `comface-bench leaderboard build`"), name
        ids = page.attributes("id")
        assert len(set(ids)) == len(ids), name
        for reference in " ".join(page.attributes("aria-labelledby")).split():
            assert reference in ids, (name, reference)
        assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in page.elements
        assert page.attributes("style") == []
        assert not [key for _, attrs in page.elements for key in attrs if key.startswith("on")], name
        assert [tag for tag, _ in page.elements].count("script") == 1
        assert [tag for tag, _ in page.elements].count("h1") == 1
        for link in [*page.attributes("href"), *page.attributes("src")]:
            assert not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//|/", link), (name, link)
            place, _, fragment = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(place)))
            assert (target if place else name) in pages, (name, link)
            assert not fragment or fragment in ids, (name, link)
    assert not re.search(rb"url\(|@import|https?:|//", pages["html/style.css"])
    assert not re.search(rb"https?:|fetch|XMLHttp|import\(|eval|innerHTML", pages["html/script.js"])


def test_numbers_are_the_documents(site, read):
    checked = 0
    for board in site.document.boards:
        page = read(site.pages[f"html/task/{board.task}/{board.protocol}.html"])
        header, *rows = page.table("results")
        values = {row[0]: dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)}
        for row in board.rows:
            shown = next(found for name, found in values.items() if name.split()[0] == row.entry.method)
            for name in board.metrics:
                value = row.cells[name].value.value
                expected = "—" if value is None else f"{100 * value:.1f}" if name == "acc" else f"{value:.3f}"
                heading = f"{METRICS[name].title} {'↑' if METRICS[name].higher_is_better else '↓'}"
                assert shown[heading] == expected, (board.task, row.entry.method, name)
                checked += 1
            for name, paper in row.paper.items():
                expected = f"{100 * paper.value:.1f}" if name == "acc" else f"{paper.value:.3f}"
                assert shown[f"{METRICS[name].title}, paper"] == expected
                checked += 1
    assert checked > 40


def test_differences_and_intervals_are_the_documents(site, read):
    board = next(board for board in site.document.boards if board.task == "age")
    text = site.pages["html/task/age/finetune.html"].decode()
    (farl,) = [row for row in board.rows if row.entry.method == "farl"]
    cell = farl.cells["mae"]
    assert f"<small>[{cell.interval.low:.3f}, {cell.interval.high:.3f}]</small>" in text
    rows = read(text.encode()).table("differences")
    (shown,) = [row for row in rows if row[0] == "farl"]
    assert shown[1] == f"{cell.to_best.difference.value:+.3f}"
    assert rows[0] == ["Method", f"to the best, {board.best['mae']}", "p to the best"]
    other = dataclasses.replace(board, best={**board.best, "mae": "farl"})
    pages = render_site(Document((other,), ()), site.results)
    (shown,) = [
        row for row in read(pages["html/task/age/finetune.html"]).table("differences") if row[0] == "farl"
    ]
    assert shown[3] == f"{cell.to_comface.difference.value:+.3f}"


def test_best_second_and_tied_are_marked(site):
    text = site.pages["html/task/age/finetune.html"].decode()
    board = next(board for board in site.document.boards if board.task == "age")
    for row in board.rows:
        cell = row.cells["mae"]
        value = f"{cell.value.value:.3f}"
        marked = {1: f"<strong>{value}</strong>", 2: f"<u>{value}</u>"}.get(cell.rank, f">{value}")
        if cell.tied and cell.rank != 1:
            marked += '<abbr class="tie"'
        assert marked in text, row.entry.method
    assert text.count("dot best") == 1
    assert "†" in text


def test_ranks_are_the_documents(site, read):
    (ranking,) = [one for one in site.document.rankings if one.scope == "overall"]
    page = read(site.pages["html/index.html"])
    (rows,) = [rows for key, rows in page.tables.items() if key.startswith("ranks-")]
    shown = {row[0]: row for row in rows[1:]}
    ranked = {name: one for name, one in ranking.standings.items() if one.mean_rank is not None}
    assert list(shown) == list(ranked)
    for name, standing in ranked.items():
        assert shown[name][2] == f"{standing.mean_rank:.2f}"
        assert shown[name][4] == f"{standing.borda:g}"
    left_out = [name for name, one in ranking.standings.items() if one.mean_rank is None]
    assert left_out
    assert all(name in page.text for name in left_out)


def test_every_value_opens_its_record(site, read):
    page = read(site.pages["html/index.html"])
    links = set(page.attributes("href"))
    for name in documents(site.pages):
        if name.count("/") == 4:
            assert name.removeprefix("html/") in links


def test_facts_of_a_record(site, read):
    page = read(site.pages["html/task/age/finetune/farl.html"])
    for words in (
        "Provenance",
        "ours",
        "2026-01-02",
        "Digests",
        "Environment",
        "Parameters",
        "20M",
        "MIT (code)",
    ):
        assert words in page.text
    record = next(row.entry for row in site.document.boards[0].rows if row.entry.method == "farl")
    assert record.version[0] in page.text


def test_hostile_names_are_text(hostile, read):
    for name, data in documents(hostile.pages).items():
        page = read(data)
        assert "img" not in [tag for tag, _ in page.elements], name
        assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", data.decode()), name
    board = read(hostile.pages["html/task/age/finetune.html"])
    words = " ".join(board.text.split())
    for name in hostile.names:
        assert " ".join(visible(name).split()) in words, name
    assert r"\u202eevil\u2066\u200f" in words
    assert r"two\u000alines\u000d\u0009" in words


def test_a_name_without_a_record_has_no_page(hostile):
    pages = [name for name in hostile.pages if name.count("/") == 4]
    assert len(pages) == 2


def test_every_page_has_every_mark_and_the_backbone(site, read):
    marked = {
        "complete": False,
        "no_better_than_baseline": True,
        "overlap": ("People",),
        "same_generator": True,
        "apart": True,
        "undertrained": True,
        "faces": "found 3, second pass 0, fixed box 1",
        "kind": "submitted",
        "mixed_versions": True,
    }
    board = next(board for board in site.document.boards if board.task == "age")
    rows = tuple(
        dataclasses.replace(row, entry=dataclasses.replace(row.entry, **marked))
        if row.entry.method == "farl"
        else row
        for row in board.rows
    )
    pages = render_site(Document((dataclasses.replace(board, rows=rows),), ()), site.results)
    for name in ("index", "family/age", "task/age/finetune", "task/age/finetune/farl"):
        page = read(pages[f"html/{name}.html"])
        for mark in MARKS.values():
            shown = ("abbr", {"class": "sign", "title": mark.meaning})
            assert shown in page.elements, (name, mark.sign)
            assert mark.sign in page.text
        assert "ViT-B/16" in page.text
    assert not {mark.meaning for mark in MARKS.values()} & set(
        read(pages["html/task/age/finetune/comface.html"]).attributes("title")
    )


def test_signs_of_several_records_stand_in_the_ranking(site, read):
    (ranking,) = [one for one in site.document.rankings if one.scope == "overall"]
    boards = tuple(
        dataclasses.replace(
            board,
            rows=tuple(
                dataclasses.replace(
                    row, entry=dataclasses.replace(row.entry, undertrained=board.task == "synth-age")
                )
                for row in board.rows
            ),
        )
        for board in site.document.boards
    )
    page = read(render_site(Document(boards, (ranking,)), site.results)["html/index.html"])
    assert "farl ¶ 1/4" in page.text


def test_head_starts_stand_beside_each_other(results, made, read):
    for protocol, start in (("linear", "scratch"), ("linear+head_start=pretrained", "pretrained")):
        made.add(results, "disfa-au6", protocol, method="comface+backbone=resnet50", head_start=start)
    pages = render_site(read_document(results), results)
    for protocol in ("linear", "linear+head_start=pretrained"):
        header, *rows = read(pages[f"html/task/disfa-au6/{protocol}.html"]).table("head-starts")
        place = header.index("Corr., paper")
        assert [(row[1], row[place]) for row in rows] == [
            ("(a) scratch", "0.648"),
            ("(b) pretrained", "0.565"),
        ]


def test_many_records_share_the_pages(site, read):
    boards = len(site.document.boards)
    pages = render_site(site.document, site.results, most_records=boards)
    records = sorted(name for name in pages if name.count("/") == 4)
    assert [name for name in records if "/age/" in name] == ["html/task/age/finetune/comface.html"]
    assert {name.rpartition("/")[2] for name in records} >= {"comface.html"}
    board = read(pages["html/task/age/finetune.html"])
    assert "only the best 1 methods" in board.text
    for name, data in documents(pages).items():
        for link in read(data).attributes("href"):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), link.partition("#")[0]))
            assert place in pages or link.startswith("#"), (name, link)


def test_no_results(tmp_path, read):
    pages = render_site(Document((), ()), tmp_path)
    assert set(pages) == {"html/icon.svg", "html/index.html", "html/style.css", "html/script.js"}
    assert "No results yet" in read(pages["html/index.html"]).text


def test_nothing_comparable(site, read):
    board = site.document.boards[0]
    rows = tuple(
        dataclasses.replace(
            row,
            cells={
                name: dataclasses.replace(cell, rank=None, to_best=None, to_comface=None)
                for name, cell in row.cells.items()
            },
        )
        for row in board.rows
    )
    alone = dataclasses.replace(board, rows=rows, comparable=False, best=dict.fromkeys(board.metrics))
    pages = render_site(Document((alone,), ()), site.results)
    page = read(pages["html/task/age/finetune.html"])
    assert "different versions of data, split or engine" in page.text
    assert "strong" not in [tag for tag, _ in page.elements]
