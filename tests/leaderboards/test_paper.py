"""The paper's values against the supplement's own tables."""

import re
from pathlib import Path

import pytest

from comface_bench.leaderboards.paper import (
    PaperValue,
    family_of,
    is_paper_board,
    paper_metrics,
    paper_values,
    protocol_order,
    published_metrics,
    tables,
)
from comface_bench.stats.metrics import METRICS

SUPPLEMENT = Path(__file__).parents[3] / "shared/paper/comface_supplement.txt"

HEADINGS = {"mae": "MAE↓", "pearson": "Corr.↑", "acc": "Acc.↑"}
DATA = {"edema-a": "Edema-A", "edema-b": "Edema-B", "edema-a2b": "Edema-A→B", "age": "Age"}


@pytest.fixture
def supplement():
    if not SUPPLEMENT.exists():
        pytest.skip("the supplement isn't beside this checkout")
    return SUPPLEMENT.read_text(encoding="utf-8")


def plain(cell):
    text = re.sub(r"</?\w+>|\$| ?\[[\d, ]+\]", "", cell).replace(r"\geq", "≥")
    return text.strip()


def parse(letter, text):
    """Return the heading cells and the rows (label, numbers) of one table of the supplement."""
    lines = text.splitlines()
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


@pytest.mark.parametrize("letter", list("HIJKLMN"))
def test_every_value_is_the_printed_one(letter, supplement):
    table = tables()[letter]
    headings, rows = parse(letter, supplement)
    decimals = [1 if column["metric"] == "acc" else 3 for column in table["columns"]]
    ours = [
        (row["row"], [f"{value:.{d}f}" for value, d in zip(row["values"], decimals, strict=True)])
        for row in table["rows"]
    ]
    assert ours == rows
    tasks = [column["task"] for column in table["columns"]]
    data = [DATA.get(task, task.removeprefix("disfa-").upper()) for task in dict.fromkeys(tasks)]
    named = [heading for heading in headings if heading in {*DATA.values()} or heading.startswith("AU")]
    assert named == ([] if letter == "N" else data), "columns stand in the supplement's order"
    metrics = [HEADINGS[column["metric"]] for column in table["columns"]]
    arrows = [heading for heading in headings if heading.endswith(("↑", "↓"))]
    assert arrows == ([] if letter == "J" else metrics)


def test_no_table_of_results_is_left_out(supplement):
    """Tables H to N are all that print metrics; the others are settings."""
    letters = re.findall(r"^Table ([A-Z])\.", supplement, flags=re.MULTILINE)
    assert set("HIJKLMN") <= set(letters)
    with_results = {
        letter for letter in letters if any("↓" in h or "↑" in h for h in parse(letter, supplement)[0])
    }
    assert with_results <= set(tables())


def test_a_changed_digit_would_be_noticed():
    """The comparison reads the text itself: another number there is another row here."""
    text = "Table N. Results\n\nMethod\tMAE↓\tCorr.↑\nScratch\t8.981\t<b>0.514</b>\n"
    assert parse("N", text) == (["Method", "MAE↓", "Corr.↑"], [("Scratch", ["8.981", "0.514"])])


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
    assert is_paper_board("disfa-au15", "linear"), "no value of its own, but the paper reports on its family"
    assert not is_paper_board("synth-au12", "linear")
    assert not is_paper_board("disfa-au15", "quick")
    assert published_metrics("edema-a2b", "finetune") == ["mae", "pearson", "acc"]
    assert published_metrics("disfa-au1", "linear") == ["pearson"]
    assert published_metrics("disfa-au1", "finetune") == []


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("comface", {"mae": 4.914, "pearson": 0.870}),
        ("comface+checkpoint=mine", {"mae": 4.914, "pearson": 0.870}),
        ("comface+backbone=resnet18", {"pearson": 0.870}),
        ("comface+backbone=resnet101+checkpoint=mine", {"pearson": 0.853}),
        ("comface+backbone=vit_base_patch16", {"pearson": 0.843}),
        ("comface+backbone=other", {"mae": 4.914, "pearson": 0.870}),
    ],
)
def test_comface_with_another_backbone_has_table_i(method, values):
    found = paper_values("age", "finetune", method)
    assert {name: value.value for name, value in found.items()} == values


def test_methods_named_in_the_file_are_known():
    from comface_bench.core.names import parse_name
    from comface_bench.core.registry import method_registry

    cards = {entry.card.name: entry.card for entry in method_registry(plugins=False).declared()}
    named = {row["method"] for table in tables().values() for row in table["rows"] if "method" in row}
    for method in named:
        base, options = parse_name(method)
        assert all(value in cards[base].options[key] for key, value in options.items())


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("age", "age"),
        ("disfa-au12", "disfa"),
        ("csv:x.csv", "csv"),
        ("age+split=loo", "age"),
        ("edema-a2b", "edema"),
    ],
)
def test_family(task, family):
    assert family_of(task) == family


def test_order_is_that_of_the_cards_then_by_name():
    protocols = ["quick", "linear+epochs=12", "brief", "finetune", "probe", "linear+epochs=2", "linear"]
    assert sorted(protocols, key=protocol_order) == [
        "probe",
        "linear",
        "linear+epochs=2",
        "linear+epochs=12",
        "finetune",
        "quick",
        "brief",
    ]
    assert paper_metrics() == ("mae", "pearson", "acc")
