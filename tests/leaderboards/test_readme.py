"""The README's table and plot."""

import re
import xml.etree.ElementTree as ET

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.readme import board_section, draw_plot, replace_section, write

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def synthetic(results, made):
    """Two methods on age, weight and two action units; one of them misses a unit."""
    for task in ("synth-age", "synth-weight", "synth-au1", "synth-au12"):
        made.add(results, task, "quick", method="scratch", noise=4.0)
        if task != "synth-au12":
            made.add(results, task, "quick", method="timm/a_b", group="Other", noise=2.0)
    return results


def rows(section):
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_values_are_those_of_the_boards(synthetic, made):
    for task in ("synth-age", "synth-weight", "synth-au1", "synth-au12"):
        made.add(synthetic, task, "quick", method="worse", group="Other", noise=9.0)
    document = read_document(synthetic)
    header, rule, constant, scratch, other, worse = rows(board_section(document))
    boards = {board.task: {row.entry.method: row for row in board.rows} for board in document.boards}
    value = {task: own["scratch"].cells["pearson"].value.value for task, own in boards.items()}
    assert header[7] == "2 action units, mean r ↑"
    assert float(scratch[7]) == pytest.approx((value["synth-au1"] + value["synth-au12"]) / 2, abs=6e-4)
    assert scratch[0] == "scratch"
    mae = boards["synth-age"]["scratch"].cells["mae"].value.value
    assert re.sub(r"[^\d.]", "", scratch[2]) == f"{mae:.3f}"
    assert (scratch[1], other[1]) == ("ResNet-50, 10", "ResNet-50, 10")
    assert scratch[8].startswith("1.00")
    assert worse[8].startswith("2.00")
    assert other[7] == other[8] == "—", "a method that misses a task has neither mean nor rank"
    assert other[0] == r"timm/a\_b"
    floor = boards["synth-weight"]["scratch"].entry.baseline["mae"].value
    assert constant[4] == f"{floor:.3f}"
    assert len({len(row) for row in (header, rule, constant, scratch, other, worse)}) == 1


def test_the_section_replaces_what_is_between_the_marks():
    readme = "before\n<!-- board -->\nold\n<!-- end of board -->\nafter\n"
    once = replace_section(readme, "new\n")
    assert once == "before\n<!-- board -->\nnew\n<!-- end of board -->\nafter\n"
    assert replace_section(once, "new\n") == once
    for wrong in ("", "<!-- board -->", "<!-- end of board --><!-- board -->", readme + readme):
        with pytest.raises(UsageError):
            replace_section(wrong, "new\n")


def test_the_plot_shows_every_value_in_its_place(synthetic):
    document = read_document(synthetic)
    root = ET.fromstring(draw_plot(document))
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert {"scratch", "timm/a_b", "age", "weight", "au1", "au12"} <= set(texts)
    assert texts.index("au1") < texts.index("au12")
    heights = {round(float(node.get("cy")), 1) for node in root.iter(f"{SVG}circle") if node.get("r") == "3"}
    expected = set()
    for board in document.boards:
        for row in board.rows:
            r = row.cells["pearson"].value.value
            expected.add(round(46 + 240 * (1 - r) / 1.25, 1))
    assert heights == expected
    marks = [node for node in root.iter(f"{SVG}circle") if node.get("r") == "3"]
    assert len(marks) == 7


def test_writing_twice_changes_nothing(synthetic, tmp_path):
    readme, plot = tmp_path / "README.md", tmp_path / "board.svg"
    readme.write_text("# Title\n<!-- board -->\n<!-- end of board -->\n")
    write(synthetic, readme, plot)
    before = readme.read_bytes(), plot.read_bytes()
    assert b"action units" in before[0]
    write(synthetic, readme, plot)
    assert (readme.read_bytes(), plot.read_bytes()) == before
