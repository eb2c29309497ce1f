"""The answer on the front page: of the widest comparison, photographs first, those set apart beside it."""

import dataclasses

import pytest

from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.site import render_site
from comface_bench.leaderboards.site.answers import find_answers

PHOTOGRAPHS = {"data": "FGNET", "card": {"family": "age"}}
RENDERED = {"data": "synthfaces/FGNET", "card": {"family": "age"}}
UNITS = {"data": "synthfaces/DISFA", "card": {"family": "expression"}}


@pytest.fixture(scope="module")
def asked(made, tmp_path_factory):
    results = tmp_path_factory.mktemp("asked") / "results"
    for method, noise in (("a", 1.0), ("b", 1.05), ("c", 6.0)):
        made.add(results, "synth-age", "probe", method, noise=noise, facts=RENDERED, draw=ord(method))
        made.add(results, "age", "probe", method, noise=noise, facts=PHOTOGRAPHS, draw=ord(method))
        for task in ("synth-au1", "synth-au4", "synth-au6"):
            worse = {"synth-au1": 9.0}.get(task, noise) if method == "b" else noise
            made.add(results, task, "probe", method, noise=worse, facts=UNITS, draw=ord(method))
    for method, noise in (("told", 0.2), ("taught", 0.1)):
        made.add(
            results, "age", "probe", method, noise=noise, facts=PHOTOGRAPHS, card={"supervision": ["age"]}
        )
    # Better by far, but of fewer methods.
    made.add(results, "age", "probe+image_size=112", "c", noise=0.01, facts=PHOTOGRAPHS)
    made.add(results, "age", "probe+image_size=112", "gap", noise=0.1, folds=(0,), facts=PHOTOGRAPHS)
    return results, read_document(results)


def test_who_is_best_and_how_sure_that_is(asked):
    _, document = asked
    age, rendered, units = find_answers(document)
    assert [one.entry.task for one in (age, rendered, units)] == ["age", "synth-age", "synth-au1"]
    assert [one.entry.rendered for one in (age, rendered, units)] == [False, True, True]
    board = document.boards[0]
    assert (age.protocol, age.league.methods, age.league.best.method) == ("probe", 3, "a")
    assert age.league.cell is board.rows[0].cells["mae"]
    tied = {row.entry.method for row in board.rows if row.cells["mae"].tied and not row.entry.apart}
    assert {one.method for one in age.league.tied} == tied - {"a"} == {"b"}
    assert (age.apart.methods, age.apart.best.method) == (2, "taught")
    assert age.baseline == board.baseline("mae")
    assert [(one.protocol, one.league.best.method) for one in age.others] == [("probe+image_size=112", "c")]
    assert rendered.others == ()


def test_tasks_of_one_quantity_are_answered_by_their_mean(asked):
    _, document = asked
    units = find_answers(document)[-1]
    (group,) = document.groups
    assert (len(units.boards), units.subject, units.baseline) == (3, "mean of 3 action units", None)
    assert units.league.best.method == "a"
    assert units.league.cell is group.cells["a"]
    assert [one.task for one in units.entries("a")] == ["synth-au1", "synth-au4", "synth-au6"]


def test_the_front_page_says_it_first(asked, read):
    results, document = asked
    page = read(render_site(document, results)["html/index.html"])
    words = " ".join(page.text.split())
    cell = document.boards[0].rows[0].cells["mae"]
    assert (
        f"a is best of 3: mean absolute error {cell.value.value:.3f} years "
        f"(95 % interval {cell.interval.low:.3f} to {cell.interval.high:.3f}); always answering" in words
    )
    assert "The data can't tell b from it." in words
    assert "Best of 2 is taught △" in words
    place = [
        words.index(text)
        for text in ("Change of age, on photographs of FGNET", "On rendered faces", "All results")
    ]
    assert place == sorted(place)
    (description,) = [attrs["content"] for _, attrs in page.elements if attrs.get("name") == "description"]
    assert description.startswith(
        "On photographs of FGNET, change of age: "
        f"a is best (MAE {cell.value.value:.3f} years), tied with 1 other."
    )
    assert ("meta", {"property": "og:description", "content": description}) in page.elements
    rows = page.table("answer-1")
    assert [row[0].split()[0] for row in rows[1:] if len(row) == 3] == ["a", "b", "c", "taught", "told"]


def test_nothing_is_said_where_nothing_is_ranked(made, tmp_path, read):
    made.add(tmp_path, method="gap", folds=(0,), failed=(1,))
    document = read_document(tmp_path)
    assert find_answers(document) == []
    assert "is best" not in read(render_site(document, tmp_path)["html/index.html"]).text
    made.add(tmp_path, method="one")
    document = read_document(tmp_path)
    (answer,) = find_answers(document)
    words = " ".join(read(render_site(document, tmp_path)["html/index.html"]).text.split())
    # `gap` has run, too.
    assert "Only one is ranked: mean absolute error" in words
    assert f"); always answering “no change” has {answer.baseline:.3f}." in words
    assert "Bars are" not in words


def test_data_and_options_tell_answers_apart(made, tmp_path, read):
    for method in "ab":
        for task, data in (("age", "FGNET"), ("csv:faces.csv", "faces.csv"), ("csv:hole.csv", "hole.csv")):
            made.add(tmp_path, task, "probe", method, facts={"data": data})
        task = "csv:faces.csv+split=leave-one-out"
        made.add(tmp_path, task, "probe", method, facts={"data": "faces.csv"})
    page = read(render_site(read_document(tmp_path), tmp_path)["html/index.html"])
    words = " ".join(page.text.split())
    assert all(f"on {place}" in words for place in ("photographs of FGNET", "faces.csv", "hole.csv"))
    assert words.count("photographs of") == words.count("photographs of FGNET")
    protocols = [row[0] for row in page.table("others-2")[1:]]
    assert protocols == ["Ridge probe", "Ridge probe, split leave-one-out"]


def test_several_tasks_are_one_column_that_opens(asked, read):
    results, document = asked
    page = read(render_site(document, results)["html/index.html"])
    header, *rows = page.table("tasks-1")
    assert header == ["Method", "Backbone", "ageMAE ↓", "synth-ageMAE ↓", "3 action unitsMAE ↓"]
    (group,) = document.groups
    for name, cell in group.cells.items():
        (row,) = [row for row in rows if row[0] == name]
        assert row[4] == f"{cell.value.value:.3f}"
    assert "#group-1-1" in page.attributes("href")
    assert ("details", {"class": "fold", "id": "group-1-1"}) in page.elements
    header, *rows = page.table("each-1-1")
    assert header == ["Method", *[f"AGE{metric}" for metric in ["MAE ↓"] * 3]]
    assert [row[0] for row in rows if len(row) == 4] == ["no change", "a", "b", "c"]


def test_each_task_has_a_sentence(asked, read):
    results, document = asked

    def told(row):
        entry = dataclasses.replace(row.entry, summary=f"What {row.entry.task} <asks>.", target="au6")
        return dataclasses.replace(row, entry=entry)

    boards = tuple(dataclasses.replace(board, rows=tuple(map(told, board.rows))) for board in document.boards)
    pages = render_site(Document(boards, document.rankings), results)
    index, board = (read(pages[f"html/{name}.html"]) for name in ("index", "task/synth-au4/probe"))
    assert all(f"What {one.task} <asks>." in index.text for one in boards)
    assert "What synth-au4 <asks>. AU6 is “cheek raiser”." in board.text
    page = read(render_site(document, results)["html/index.html"])
    assert "Change of age, in years, between two images of one person." in page.text
