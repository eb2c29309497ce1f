"""The paper's values against the supplement's own tables."""

import dataclasses
import re
from pathlib import Path

import pytest

from comface_bench.leaderboards.pages import read_document
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
                    facts = (row["method"], row.get("backbone", ""), row.get("head_start", ""))
                    facts = tuple(fact.replace("ResNet-50", "") for fact in facts)
                    cell = (table["protocol"], *facts, column["task"], column["metric"])
                    assert seen.setdefault(cell, value) == value


def values_of(*names):
    return {name: value.value for name, value in paper_values(*names).items()}


def test_lookup():
    assert paper_values("age", "finetune", "farl", "ViT-B/16") == {
        "mae": PaperValue(5.249, "N"),
        "pearson": PaperValue(0.851, "N"),
    }
    accuracy = paper_values("edema-a", "finetune", "comface", "ResNet-50")["acc"]
    assert accuracy == PaperValue(pytest.approx(0.886), "M")
    assert values_of("age", "finetune", "scratch", "ResNet-50") == {"mae": 8.98, "pearson": 0.514}
    for nothing in [
        ("age", "linear", "farl", "ViT-B/16"),
        ("age", "quick", "farl", "ViT-B/16"),
        ("age", "finetune+image_size=112", "farl", "ViT-B/16"),
        ("age", "finetune+head_start=scratch+image_size=112", "comface", "ResNet-50"),
        ("synth-age", "finetune", "farl", "ViT-B/16"),
        ("age", "finetune", "dino", "ResNet-50"),
        ("age", "finetune", "scratch+backbone=resnet18", "ResNet-18"),
        ("age", "finetune", "comface+backbone=other", "other"),
        ("age", "finetune", "comface", ""),
        ("age", "finetune", "farl", "ResNet-50"),
        ("age", "finetune", "imagenet", "ResNet-50", "pretrained"),
    ]:
        assert paper_values(*nothing) == {}
    assert is_paper_board("disfa-au15", "linear"), "no value of its own, but the paper reports on its family"
    assert is_paper_board("disfa-au15", "linear+head_start=pretrained")
    assert not is_paper_board("synth-au12", "linear")
    assert not is_paper_board("disfa-au15", "quick")
    assert not is_paper_board("disfa-au15", "linear+epochs=5")
    assert published_metrics("edema-a2b", "finetune") == ["mae", "pearson", "acc"]
    assert published_metrics("disfa-au1", "linear") == ["pearson"]
    assert published_metrics("disfa-au1", "linear+head_start=pretrained") == []
    assert published_metrics("disfa-au6", "linear+head_start=pretrained") == ["mae", "pearson"]
    assert published_metrics("disfa-au1", "finetune") == []


@pytest.mark.parametrize(
    ("method", "backbone", "values"),
    [
        ("comface", "ResNet-18", {"pearson": 0.658}),
        ("comface+backbone=resnet50+checkpoint=mine", "ResNet-50", {"pearson": 0.663}),
        ("comface+backbone=resnet101+checkpoint=mine", "ResNet-101", {"pearson": 0.660}),
        ("comface+backbone=vit_base_patch16", "ViT-B/16", {"pearson": 0.609}),
    ],
)
def test_comface_has_the_row_of_table_i_for_its_backbone(method, backbone, values):
    assert values_of("disfa-au6", "finetune", method, backbone) == values


@pytest.mark.parametrize(
    ("protocol", "head_start", "value"),
    [
        ("linear", "", 0.648),
        ("linear", "scratch", 0.648),
        ("linear+head_start=pretrained", "", 0.565),
        ("linear+head_start=pretrained", "pretrained", 0.565),
        ("finetune+head_start=scratch", "", 0.666),
        ("finetune", "", 0.663),
        ("finetune", "pretrained", 0.663),
    ],
)
def test_each_head_start_has_its_row_of_tables_k_and_l(protocol, head_start, value):
    assert values_of("disfa-au6", protocol, "comface", "ResNet-50", head_start)["pearson"] == value


def test_what_the_command_line_writes_meets_the_papers_rows(document):
    """Backbones are those of the cards, as a plain run resolves them; ComFace's is of Table I's first row."""
    from comface_bench.core.registry import method_registry

    cards = {entry.card.name: entry.card for entry in method_registry(plugins=False).declared()}
    entry = document.boards[0].rows[0].entry
    missed = []
    for table in tables().values():
        for name in {row["method"] for row in table["rows"] if "method" in row} - {"comface"}:
            card, column = cards[name], table["columns"][0]
            chosen = card.options.get("backbone", ("",))[0].replace("resnet50", "ResNet-50")
            topology = dataclasses.replace(entry, backbone=chosen or card.backbone).topology
            if not paper_values(column["task"], table["protocol"], name, topology):
                missed.append(name)
    assert missed == []
    assert cards["comface"].options["backbone"][0] == "resnet18"


def test_pages_of_comface_have_its_own_backbones_values(results, made):
    made.add(results, "disfa-au6", method="comface", head_start="pretrained")
    made.add(results, "disfa-au6", method="comface+backbone=resnet50", head_start="pretrained")
    made.add(results, "disfa-au6", method="scratch+backbone=resnet18")
    (board,) = read_document(results).boards
    found = {row.entry.method: (row.entry.topology, dict(row.paper)) for row in board.rows}
    assert found == {
        "comface": ("ResNet-18", {"pearson": PaperValue(0.658, "I")}),
        "comface+backbone=resnet50": ("ResNet-50", {"pearson": PaperValue(0.663, "H")}),
        "scratch+backbone=resnet18": ("ResNet-18", {}),
    }


def test_methods_named_in_the_file_are_known():
    from comface_bench.core.registry import method_registry

    cards = {entry.card.name for entry in method_registry(plugins=False).declared()}
    named = {row["method"] for table in tables().values() for row in table["rows"] if "method" in row}
    assert named <= cards


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
