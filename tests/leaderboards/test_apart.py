"""Methods that were taught what a task asks: a group of their own in every format, with places within it."""

import csv
import io
import json
import re

import pytest

from comface_bench.leaderboards.document import APART, OVERALL
from comface_bench.leaderboards.export import leaderboard_csv, leaderboard_json, records_latex
from comface_bench.leaderboards.markdown import board_page, index_page, overall_page
from comface_bench.leaderboards.pages import read_document, read_entries
from comface_bench.leaderboards.readme import board_section
from comface_bench.leaderboards.site import render_site

GROUP = "Supervised by Age"
NOISE = {"taught-best": 0.1, "taught-second": 0.3, "open-best": 1.0, "open-second": 2.0, "open-third": 8.0}
"""Those that were taught ages are far better than all others."""
UNITS = ("synth-au1", "synth-weight")


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("apart") / "results"
    for task, family in {"age": "age", "synth-age": "age", "synth-weight": "weight"}.items():
        for method, noise in NOISE.items():
            taught = method.startswith("taught")
            facial = "Facial Representation Learning"
            # One states it as a fact, the other only by its group, as records did before the fact was kept.
            stated = {"supervision": ["identity", "age"]} if method == "taught-best" else {}
            group = GROUP if method == "taught-second" else facial
            made.add(folder, task, "probe", method, group=group if taught else facial, noise=noise,
                     card=stated, facts={"card": {"family": family}, "data": f"data of {task}"})  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def document(results):
    return read_document(results)


def board_of(document, task):
    return next(board for board in document.boards if board.task == task)


def test_places_ties_and_tests_are_within_the_groups(document):
    board = board_of(document, "age")
    cells = {row.entry.method: row.cells["mae"] for row in board.rows}
    assert {name: cell.rank for name, cell in cells.items()} == {
        "open-best": 1, "open-second": 2, "open-third": 3, "taught-best": 1, "taught-second": 2,
    }  # fmt: skip
    assert board.best["mae"] == "open-best"
    assert board.best_apart["mae"] == "taught-best"
    for name, cell in cells.items():
        if cell.to_best is not None:
            assert cell.to_best.reference.partition("-")[0] == name.partition("-")[0]
    # Holm's family is the group's: a test among two is the plain one.
    assert cells["taught-second"].to_best.p.value <= cells["open-second"].to_best.p.value
    assert [row.entry.method for row in board.rows][-2:] == ["taught-best", "taught-second"]
    assert {row.entry.group for row in board.rows[-2:]} == {GROUP}


def test_where_something_else_is_asked_they_compete(document):
    board = board_of(document, "synth-weight")
    assert board.best["mae"] == "taught-best"
    assert not board.best_apart
    assert sorted(row.cells["mae"].rank for row in board.rows) == [1, 2, 3, 4, 5]
    assert not any(row.entry.apart for row in board.rows)


def test_rankings_over_age_leave_them_out(document):
    ranking = next(one for one in document.rankings if one.scope == OVERALL)
    assert [name for name, one in ranking.standings.items() if one.mean_rank is not None] == [
        "open-best", "open-second", "open-third",
    ]  # fmt: skip
    assert ranking.standings["open-best"].mean_rank == 1.0
    assert dict(ranking.apart) == dict.fromkeys(("taught-best", "taught-second"), ("age", "synth-age"))
    page = overall_page(document)
    assert "Taught from labels what age, synth-age asks, so not ranked: taught-best, taught-second." in page


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_says_it_in_words(document):
    page = board_page(board_of(document, "age"))
    table = rows(page)[: 2 + 1 + 2 + 5]
    names = [row[0] for row in table]
    heading = next(name for name in names if GROUP in name)
    assert "taught what is asked, placed apart" in heading
    assert [name.split()[0] for name in names[names.index(heading) + 1 :]] == ["taught-best", "taught-second"]
    assert [row[0].split()[0] for row in table if "**" in row[3]] == ["open-best", "taught-best"]
    assert "- △ The method was taught from labels what is asked here" in page
    assert (
        "The best: MAE open-best, Corr. open-best, Acc. (%) open-best; of those set apart: MAE taught-best"
        in page
    )
    assert "△" in index_page(document, {(b.task, b.protocol): "x" for b in document.boards}, [])


def test_csv_and_json_say_it(document):
    lines = [line for line in csv.DictReader(io.StringIO(leaderboard_csv(document)))
             if (line["task"], line["metric"]) == ("age", "mae")]  # fmt: skip
    found = {line["method"]: (line["place"], line["best"], line["apart"], line["group"]) for line in lines}
    assert found["taught-best"] == ("1", "taught-best", "true", GROUP)
    assert found["open-best"] == ("1", "open-best", "false", "Facial Representation Learning")
    assert {line["supervision"] for line in lines if line["method"] == "taught-best"} == {"identity, age"}
    loaded = json.loads(leaderboard_json(document))
    board = next(board for board in loaded["boards"] if board["task"] == "age")
    assert (board["best"]["mae"], board["best_apart"]["mae"]) == ("open-best", "taught-best")
    assert {row["method"] for row in board["rows"] if row["apart"]} == {"taught-best", "taught-second"}
    overall = next(one for one in loaded["rankings"] if one["scope"] == OVERALL)
    assert overall["apart"]["taught-best"] == ["age", "synth-age"]


def test_the_site_and_latex_say_it(document, results):
    pages = render_site(document, results)
    page = pages["html/task/age/probe.html"].decode()
    assert f"{GROUP}: taught what is asked, placed apart" in page
    assert page.count('<tbody class="apart">') == 5
    tile = re.search(r"<dt>Best MAE</dt><dd>.*?<span>(.*?)</span>", page, re.DOTALL)
    assert tile[1].startswith("open-best")
    assert '<tbody class="apart">' not in pages["html/task/synth-weight/probe.html"].decode()
    assert "was taught from labels what age, synth-age asks" in pages["html/index.html"].decode()
    latex = records_latex(read_entries(results), ["age"], "probe")
    bold = {
        line.split(" &")[0]: r"\textbf{" in line.split(" & ")[1] for line in latex.splitlines() if "&" in line
    }
    assert [name for name, best in bold.items() if best] == ["open-best", "taught-best"]
    assert f"{GROUP}: taught what is asked, placed apart" in latex


def test_the_readme_says_it(document):
    section = board_section(document)
    names = [row[0] for row in rows(section)]
    assert sum(GROUP in name for name in names) == 2, "one for the photographs, one for the rendered faces"
    bold = [row[0].split()[0] for row in rows(section) if row[3].startswith("**") or row[2].startswith("**")]
    assert "taught-best" in bold and "open-best" in bold
    assert "△" in section


def test_only_methods_that_were_taught_ages(made, tmp_path):
    folder = tmp_path / "results"
    made.add(folder, "age", "probe", "taught", group=GROUP, facts={"card": {"family": "age"}})
    made.add(folder, "synth-weight", "probe", "taught", group=GROUP, facts={"card": {"family": "weight"}})
    document = read_document(folder)
    board = board_of(document, "age")
    assert board.best["mae"] is None
    assert board.best_apart["mae"] == "taught"
    assert document.rankings == ()
    assert "taught" in board_page(board)
    assert board_section(document)


def test_only_its_own_group_is_headed_so(made, tmp_path):
    """A network that was taught expressions stands apart where they are asked, not in tables over tasks."""
    folder, facial = tmp_path / "results", "Facial Representation Learning"
    for task, family in {"synth-au1": "expression", "synth-age": "age"}.items():
        facts = {"card": {"family": family}, "data": f"data of {task}"}
        for method, taught in {"taught": ["expression"], "open": ["identity"], "other": []}.items():
            card = {"supervision": taught}
            made.add(folder, task, "probe", method, group=facial, card=card, facts=facts)
    document = read_document(folder)
    board = board_of(document, "synth-au1")
    assert [row.entry.group for row in board.rows] == [facial, facial, "Supervised by Expression"]
    pages = render_site(document, folder)
    index = pages["html/index.html"].decode()
    texts = {
        "readme": board_section(document),
        "index": index_page(document, {(b.task, b.protocol): "x" for b in document.boards}, []),
        # Above it, each quantity's own answer has them apart.
        "site": index[index.index("Methods and tasks") :],
    }
    for name, text in texts.items():
        assert "taught" in text, name
        assert APART not in text, name
    assert '<tbody class="apart">' not in texts["site"]
    page = board_page(board)
    headings = [line for line in page.splitlines() if APART in line]
    assert headings and all("Supervised by Expression" in line for line in headings)
    assert '<tbody class="apart">' in pages["html/task/synth-au1/probe.html"].decode()
