"""The paper's values against the supplement's own tables."""

import re
from pathlib import Path

import pytest

from comface_bench.leaderboards.paper import PaperValue, paper_values, published_metrics, tables
from comface_bench.stats.metrics import METRICS

SUPPLEMENT = Path(__file__).parents[3] / "shared/paper/comface_supplement.txt"

HEADINGS = {"mae": "MAE↓", "pearson": "Corr.↑", "acc": "Acc.↑"}
DATA = {"edema-a": "Edema-A", "edema-b": "Edema-B", "edema-a2b": "Edema-A→B", "age": "Age"}


def plain(cell):
    text = re.sub(r"</?\w+>|\$| ?\[[\d, ]+\]", "", cell).replace(r"\geq", "≥")
    return text.strip()


def parse(letter):
    """Return the heading cells and the rows (label, numbers) of one table of the supplement."""
    lines = SUPPLEMENT.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"Table {letter}."))
    headings, rows = [], []
    for line in lines[start + 1 :]:
        if line.startswith(("Table ", "#")):
            break
        cells = [plain(cell) for cell in line.split("\t")]
        numbers = [cell for cell in cells if re.fullmatch(r"-?\d+\.\d+", cell)]
        if numbers:
            rows.append((cells[0], numbers))
        elif len(cells) > 1 and not rows:
            headings += cells
    return headings, rows


@pytest.mark.skipif(not SUPPLEMENT.exists(), reason="the supplement isn't beside this checkout")
@pytest.mark.parametrize("letter", list("HIJKLMN"))
def test_every_value_is_the_printed_one(letter):
    table = tables()[letter]
    headings, rows = parse(letter)
    decimals = [1 if column["metric"] == "acc" else 3 for column in table["columns"]]
    ours = [
        (row["row"], [f"{value:.{d}f}" for value, d in zip(row["values"], decimals, strict=True)])
        for row in table["rows"]
    ]
    assert ours == rows
    for column in table["columns"]:
        task = column["task"]
        data = DATA.get(task, task.removeprefix("disfa-").upper())
        assert letter == "N" or data in headings
        assert letter == "J" or HEADINGS[column["metric"]] in headings


def test_tables_and_columns_are_complete():
    assert sorted(tables()) == list("HIJKLMN")
    assert sum(len(row["values"]) for table in tables().values() for row in table["rows"]) == 183
    for table in tables().values():
        for column in table["columns"]:
            metric = METRICS[column["metric"]]
            assert bool(column["unit"]) == (metric.has_unit or metric.percent)


def test_tables_do_not_contradict_each_other():
    seen = {}
    for table in tables().values():
        for row in table["rows"]:
            for column, value in zip(table["columns"], row["values"], strict=True):
                if "method" in row:
                    cell = (table["protocol"], row["method"], column["task"], column["metric"])
                    assert seen.setdefault(cell, value) == value


def test_lookup():
    assert paper_values("age", "finetune", "farl") == {
        "mae": PaperValue(5.249, "N"),
        "pearson": PaperValue(0.851, "N"),
    }
    assert paper_values("edema-a", "finetune", "comface")["acc"] == PaperValue(pytest.approx(0.886), "M")
    assert paper_values("age", "finetune", "scratch+backbone=resnet18")["mae"].value == 8.98
    for nothing in [
        ("age", "linear", "farl"),
        ("age", "quick", "farl"),
        ("age", "finetune+image_size=112", "farl"),
        ("synth-age", "finetune", "farl"),
        ("age", "finetune", "dino"),
    ]:
        assert paper_values(*nothing) == {}
    assert published_metrics("edema-a2b", "finetune") == ["mae", "pearson", "acc"]
    assert published_metrics("disfa-au1", "linear") == ["pearson"]
    assert published_metrics("disfa-au1", "finetune") == []
