"""Rankings over several quantities, in every format: twelve action units, age and weight have a vote each."""

import json
import re

import numpy as np
import pytest

from comface_bench.leaderboards.document import OVERALL
from comface_bench.leaderboards.export import leaderboard_json
from comface_bench.leaderboards.markdown import family_page, index_page, overall_page
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.readme import board_section
from comface_bench.leaderboards.site import render_site

UNITS = [f"synth-au{number}" for number in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)]
QUANTITIES = {"synth-age": "age", **dict.fromkeys(UNITS, "expression"), "synth-weight": "weight"}


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    """`units` is best on every action unit, `others` on age and weight; `gap` lacks the weight."""
    folder = tmp_path_factory.mktemp("quantities") / "results"
    for task, quantity in QUANTITIES.items():
        best = "units" if quantity == "expression" else "others"
        for method in ("units", "others", "gap"):
            if (method, task) != ("gap", "synth-weight"):
                noise = 0.2 if method == best else 3.0 if method == "gap" else 1.0
                facts = {"card": {"family": quantity}, "data": quantity}
                made.add(folder, task, "quick", method, noise=noise, facts=facts)
    return folder


@pytest.fixture(scope="module")
def document(results):
    return read_document(results)


@pytest.fixture(scope="module")
def overall(document):
    return next(ranking for ranking in document.rankings if ranking.scope == OVERALL)


def test_one_method_is_no_ranking(made, tmp_path):
    for task in ("synth-age", "synth-weight"):
        made.add(tmp_path, task, "quick", "alone")
    made.add(tmp_path, "synth-age", "quick", "other")
    assert read_document(tmp_path).rankings == ()
    made.add(tmp_path, "synth-weight", "quick", "other")
    assert len(read_document(tmp_path).rankings) == 2


def test_mean_ranks_are_means_over_quantities(document, overall):
    assert dict(overall.quantities) == QUANTITIES
    assert overall.weighed == {"age": 1, "expression": 12, "weight": 1}
    assert list(overall.standings) == ["others", "units", "gap"]
    values = {
        (board.task, row.entry.method): row.cells["mae"].value.value
        for board in document.boards
        for row in board.rows
    }
    for name, other in (("others", "units"), ("units", "others")):
        standing = overall.standings[name]
        ranks = {task: 1.0 + (values[task, other] < values[task, name]) for task in QUANTITIES}
        assert dict(standing.ranks) == ranks
        own = {
            quantity: np.mean([ranks[task] for task in ranks if QUANTITIES[task] == quantity])
            for quantity in ("age", "expression", "weight")
        }
        assert dict(standing.group_ranks) == own
        assert standing.mean_rank == pytest.approx(np.mean(list(own.values())), abs=1e-12)
        assert standing.mean_rank_interval.low <= standing.mean_rank <= standing.mean_rank_interval.high
    assert overall.standings["others"].mean_rank == pytest.approx(4 / 3)
    assert np.mean(list(overall.standings["others"].ranks.values())) > 1.8, "the rule that it replaces"
    assert (overall.standings["gap"].missing, overall.standings["gap"].mean_rank) == (("synth-weight",), None)


def test_tasks_of_one_quantity_count_alike(made, tmp_path):
    for number, task in enumerate(("disfa-au1", "disfa-au2", "disfa-au4")):
        for method, noise in (("a", 1.0 + (number == 0)), ("b", 1.5)):
            made.add(tmp_path, task, "quick", method, noise=noise, facts={"card": {"family": "expression"}})
    family, overall = read_document(tmp_path).rankings
    assert family.weighed == overall.weighed == {}
    assert family.standings["a"].mean_rank == overall.standings["a"].mean_rank == pytest.approx(4 / 3)


def addresses(document):
    return {(board.task, board.protocol): f"{board.task}.md" for board in document.boards}


def table_rows(page, heading):
    """Cells by method of the first table that has the heading, without what stands beneath a value."""
    lines = page.splitlines()
    first = next(number for number, line in enumerate(lines) if f"| {heading} |" in line)
    found = {}
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found[name] = [re.sub(r"\*\*|</?ins>|<br>.*", "", cell) for cell in cells]
    return found


def test_pages_show_the_ranks_of_each_quantity(document):
    pages = (
        overall_page(document),
        family_page(document, "synth", addresses(document)),
        index_page(document, addresses(document), []),
    )
    for page in pages:
        rows = table_rows(page, "Borda count")
        assert rows["Method"][2:7] == ["Mean rank", "age", "expression", "weight", "Borda count"]
        assert rows["others"][1:] == ["1", "1.33", "1.00", "2.00", "1.00", "2", "14/14"]
        assert rows["units"][1:] == ["2", "1.67", "2.00", "1.00", "2.00", "12", "14/14"]
        assert rows["gap"][1:] == ["—"] * 6 + ["13/14"]
        assert (
            "14 tasks of 3 quantities, each counting the same: age (1), expression (12), weight (1)" in page
        )


def test_the_readme_has_the_same_mean_ranks(document):
    rows = table_rows(board_section(document), "Mean rank ↓")
    assert (rows["others"][-1], rows["units"][-1], rows["gap"][-1]) == ("1.33", "1.67", "—")


def test_programs_find_them(document, overall):
    (read,) = [one for one in json.loads(leaderboard_json(document))["rankings"] if one["scope"] == OVERALL]
    assert read["quantities"] == QUANTITIES
    for one in read["standings"]:
        standing = overall.standings[one["method"]]
        assert one["mean_rank"] == pytest.approx(standing.mean_rank)
        assert one["quantity_ranks"] == pytest.approx(dict(standing.group_ranks))


def test_the_site_shows_them(document, results):
    page = render_site(document, results)["html/index.html"].decode()
    assert '<th scope="col">age</th><th scope="col">expression</th><th scope="col">weight</th>' in page
    assert (
        "each quantity counts the same, however many tasks it has: age (1), expression (12), weight (1)."
        in page
    )
    ranks = page[page.index('id="ranks-1"') : page.index("Methods and tasks")]
    (row,) = re.findall(r'<tr data-name="others">.*?</tr>', ranks, flags=re.DOTALL)
    cells = [
        re.sub(r"<small>.*?</small>|<[^>]*>", "", cell) for cell in re.findall(r"<td>.*?</td>", row)[-6:]
    ]
    assert cells[-6:] == ["1.33", "1", "1.00", "2.00", "1.00", "2"]
