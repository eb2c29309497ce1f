"""What is computed over several boards: settings side by side; orders on photographs and rendered faces."""

import itertools
import json
import re

import numpy as np
import pytest
from scipy import stats

from comface_bench.leaderboards.export import leaderboard_json
from comface_bench.leaderboards.markdown import board_page, family_page, index_page, settings_table
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.readme import board_section
from comface_bench.leaderboards.site import render_site
from comface_bench.results.schema import dump_json
from comface_bench.results.store import ResultStore

NOISE = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 3.0, "e": 5.0}
RENDERED = {"a": 1.0, "b": 0.5, "c": 2.0, "d": 3.0, "e": 5.0}
ALIGNED = {"align": {"name": "five-points", "chip": "dlib", "points": []}}
FACTS = {"card": {"family": "age"}, "data": "FGNET"}
SYNTH = {
    "synth-age": {"card": {"family": "age"}, "data": "synthfaces/FGNET"},
    "synth-weight": {"card": {"family": "weight"}, "data": "synthfaces/Edema-A"},
}


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    """Five methods: whole photographs, aligned ones, and rendered faces in another size; `e` by generator."""
    folder = tmp_path_factory.mktemp("several") / "results"
    for method, noise in NOISE.items():
        # 150 pixels is all that `b` takes.
        card = {"preprocess": {"size": 150 if method == "b" else None, "multiple": 1}}
        seen = ["synthetic faces"] if method == "e" else []
        more = {"card": card, "trained_on": seen, "facts": FACTS, "draw": ord(method)}
        made.add(folder, "age", "probe", method, noise=noise, values={"image_size": 224}, **more)
        if method != "d":
            made.add(folder, "age", "probe+align=five-points", method, noise=noise / 2,
                     values={"image_size": 224} | ALIGNED, **more)  # fmt: skip
        for task, facts in SYNTH.items():
            made.add(folder, task, "probe+image_size=112", method, noise=RENDERED[method],
                     values={"image_size": 112}, **more | {"facts": facts})  # fmt: skip
    made.add(folder, "age", "finetune", "comface+backbone=resnet50", values={"image_size": 224}, facts=FACTS,
             head_start="pretrained", card={"backbone": "ResNet-50"})  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def document(results):
    return read_document(results)


def test_boards_that_several_processes_read_are_compared_all_the_same(results, document):
    assert leaderboard_json(read_document(results, workers=5)) == leaderboard_json(document)


def test_settings_are_compared_on_the_same_pairs_and_people(document):
    (one,) = document.settings
    assert (one.task, one.protocol) == ("age", "probe")
    assert [board.protocol for board in one.boards] == ["probe", "probe+align=five-points"]
    assert set(one.changes) == {(name, "probe+align=five-points") for name in "abce"}
    values = [{row.entry.method: row.cells["mae"] for row in board.rows} for board in one.boards]
    for name in "abce":
        change = one.changes[name, "probe+align=five-points"]
        whole, aligned = (found[name] for found in values)
        assert change.value == pytest.approx(aligned.value.value - whole.value.value)
        # Errors here are halved by alignment, for everybody and so in each resample.
        assert change.value == pytest.approx(-whole.value.value / 2)
        assert change.interval.low == pytest.approx(-whole.interval.high / 2)
        assert change.interval.high == pytest.approx(-whole.interval.low / 2)


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_table_of_settings(document):
    (one,) = document.settings
    table = [cells(line) for line in settings_table(one)]
    assert [head.partition("<br>")[0] for head in table[0][2:]] == [
        "whole picture, 224 px",
        "five-points, 224 px",
    ]
    by_method = {row[0]: row for row in table}
    assert by_method["d"][3] == "—"
    assert "150 px" in by_method["b"][2] and "150 px" in by_method["b"][3]
    assert "150 px" not in by_method["a"][2]
    change = one.changes["a", "probe+align=five-points"]
    assert (
        f"<sub>{change.value:.3f} [{change.interval.low:.3f}, {change.interval.high:.3f}]"
        in by_method["a"][3]
    )
    pages = {(board.task, board.protocol): "x" for board in document.boards}
    assert "settings side by side" in family_page(document, "age", pages)
    loaded = json.loads(leaderboard_json(document))["settings"]
    assert loaded[0]["settings"] == ["probe", "probe+align=five-points"]
    assert {row["method"] for row in loaded[0]["changes"]} == set("abce")


def test_rows_show_what_their_backbone_saw(document):
    shown = {
        (board.protocol, row.entry.method): row.entry.input_text
        for board in document.boards
        for row in board.rows
        if board.task == "age"
    }
    assert shown["probe", "a"] == "224 px"
    assert shown["probe", "b"] == "224 → 150 px"
    assert shown["probe+align=five-points", "b"] == "five-points, 224 → 150 px"


def test_agreement_by_hand(document):
    one = document.agreements[0]
    assert (one.photographs_protocol, one.rendered_protocol) == ("probe", "probe+image_size=112")
    assert [two.rendered for two in document.agreements] == [("synth-age",), ("synth-weight",)]
    assert one.methods == tuple("abcde")
    boards = {(board.task, board.protocol): board for board in document.boards}
    real, synth = (
        [row.number("mae") for row in boards[place].rows]
        for place in (("age", "probe"), ("synth-age", "probe+image_size=112"))
    )
    found = one.correlation
    assert found.spearman.value == pytest.approx(stats.spearmanr(real, synth).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(real, synth).statistic)
    orders = [stats.spearmanr(real, order).statistic for order in itertools.permutations(synth)]
    assert found.p == pytest.approx(np.mean(np.abs(orders) >= abs(found.spearman.value) - 1e-9))
    assert found.spearman_interval.low <= found.spearman.value
    # `e` learnt from the generator, so four are left.
    assert one.unmarked == tuple("abcd")
    assert one.unmarked_correlation is not None


def test_pages_show_the_agreement(document, results):
    pages = {(board.task, board.protocol): "x" for board in document.boards}
    index = index_page(document, pages, [])
    assert "Do rendered faces order backbones as photographs do?" in index
    line = next(line for line in index.splitlines() if "| 4 without marks |" in line)
    assert f"{document.agreements[0].unmarked_correlation.spearman.value:.2f}" in line
    site = render_site(document, results)
    assert "4 without marks" in site["html/index.html"].decode()
    assert "settings side by side" in site["html/family/age.html"].decode()
    assert "4 without marks" not in site["html/family/age.html"].decode()
    loaded = json.loads(leaderboard_json(document))["agreements"]
    assert loaded[0]["parts"][0]["methods"] == list("abcde")
    assert len(loaded[0]["parts"]) == 2


def test_fewer_than_four_methods_say_nothing(made, tmp_path):
    folder = tmp_path / "results"
    for method in "abc":
        made.add(folder, "age", "probe", method, noise=NOISE[method], facts=FACTS)
        made.add(folder, "synth-age", "probe", method, noise=NOISE[method], facts=SYNTH["synth-age"])
    document = read_document(folder)
    assert document.agreements == ()
    assert "photographs do" not in index_page(
        document, {(b.task, b.protocol): "x" for b in document.boards}, []
    )


def test_the_readme_begins_with_photographs(document):
    section = board_section(document)
    first, second = (
        section.index("FG-NET, change of age in years, `probe`"),
        section.index("Rendered faces, `probe"),
    )
    assert first < second < section.index("Do rendered faces order")
    finetune = section[section.index("FG-NET, change of age in years, `finetune`") : second]
    row = next(cells(line) for line in finetune.splitlines() if line.startswith("| comface"))
    assert row[-1] == "4.914 / 0.870 / —", (
        "the paper's value stands in a column of its own, same backbone only"
    )
    assert "farl (ViT-B/16) 5.249 / 0.851 / —" in finetune
    other = section[first : section.index("FG-NET, change of age in years, `finetune`")]
    assert "paper" not in other


@pytest.mark.parametrize("size", ["abc", "150", 1.5, True, -3, 10**30])
def test_a_strangers_input_size_stops_no_page(made, tmp_path, size):
    record = made.add(tmp_path / "r", "age", "probe", "a")
    path = ResultStore(tmp_path / "r").record_path("age", "probe", "a")
    units = [
        unit.model_copy(update={"details": {**unit.details, "input_size": size}}) for unit in record.units
    ]
    path.write_text(dump_json(record.model_copy(update={"units": units}).seal()))
    assert "a" in board_page(read_document(tmp_path / "r").boards[0])
