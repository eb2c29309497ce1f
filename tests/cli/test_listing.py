"""`list` and `show`: what there is, where it comes from, and what it needs."""

import json
import os
import sys
from pathlib import Path

import pytest

from comface_bench.core.card import Family, card_digest
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import method_registry, task_registry

FILE = """
from comface_bench.core.card import MethodCard

CARD = MethodCard(name="mine", version=3, build=":build", backbone="tiny", summary="Of my own.")
"""


def rows_of(out, kind):
    return {row["name"]: row for row in json.loads(out)[kind]}


def test_methods_in_json(call):
    status, out, _ = call("list", "methods", "--json")
    assert status == 0
    rows = rows_of(out, "methods")
    assert list(rows) == list(method_registry().names())
    assert rows["scratch"] == {
        "name": "scratch",
        "backbone": "ResNet-50",
        "group": "Scratch",
        "weights": "not needed",
        "origin": "comface-bench",
        "summary": method_registry().get("scratch").card.summary,
    }
    assert {family["name"] for family in json.loads(out)["families"]} == {"timm/…", "open_clip/…"}


def test_weights_are_missing_until_their_file_is_there(call):
    assert rows_of(call("list", "methods", "--json")[1], "methods")["imagenet"]["weights"] == "missing"
    checkpoint = method_registry().get("imagenet").card.checkpoint
    (Path(os.environ["COMFACE_WEIGHTS"]) / checkpoint.file).write_bytes(b"weights")
    assert rows_of(call("list", "methods", "--json")[1], "methods")["imagenet"]["weights"] == "present"


def test_table_of_methods_has_a_line_for_each_name_and_family(call):
    _, out, _ = call("list", "methods")
    first = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert first == ["name", *method_registry().names(), "open_clip/…", "timm/…"]


def test_tasks_say_whether_their_data_are_there(call, make_fgnet, tmp_path):
    rows = rows_of(call("list", "tasks", "--json", "--data", tmp_path)[1], "tasks")
    assert list(rows) == list(task_registry().names())
    assert rows["age"]["available"] == "missing"
    assert rows["synth-age"]["available"] == "ships"
    make_fgnet(tmp_path / "FGNET")
    rows = rows_of(call("list", "tasks", "--json", "--data", tmp_path)[1], "tasks")
    assert rows["age"]["available"] == "found"
    assert (rows["age"]["target"], rows["age"]["unit"]) == ("age", "years")


def test_protocols(call):
    assert list(rows_of(call("list", "protocols", "--json")[1], "protocols")) == [
        "probe",
        "linear",
        "finetune",
        "quick",
        "patient-specific",
    ]


def test_plugin_file_is_listed_with_its_origin(call, tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    rows = rows_of(call("list", "methods", "--json", "--plugin", tmp_path / "own.py")[1], "methods")
    assert rows["mine"]["origin"] == str(tmp_path / "own.py")


def test_installed_plugin_is_named_without_being_loaded(call, tmp_path, monkeypatch):
    (tmp_path / "greedy.py").write_text("raise SystemExit('loaded')")
    info = tmp_path / "greedy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[comface_bench.methods]\ngreedy = greedy\n")
    monkeypatch.syspath_prepend(tmp_path)
    status, out, _ = call("list", "methods", "--json")
    assert status == 0
    assert rows_of(out, "methods")["greedy"] == {"name": "greedy", "origin": "greedy (greedy)"}
    assert "greedy" not in sys.modules


def test_show_has_every_fact_and_prose_of_a_card(call):
    card = task_registry().get("age").card
    shown = json.loads(call("show", "age", "--json")[1])
    assert shown["kind"] == "task"
    assert shown["digest"] == card_digest(card)
    assert shown["licence"] == card.licence
    assert tuple(shown["metrics"]) == card.metrics
    _, out, _ = call("show", "age")
    assert card.summary in out
    assert card_digest(card) in out


def test_show_knows_families_and_plugin_files(call, tmp_path):
    assert json.loads(call("show", "timm/resnet18", "--json")[1])["backbone"] == "resnet18"
    (tmp_path / "own.py").write_text(FILE)
    assert json.loads(call("show", "mine", "--json", "--plugin", tmp_path / "own.py")[1])["version"] == 3


def test_show_protocol_has_the_values_of_each_family(call):
    shown = json.loads(call("show", "linear", "--json")[1])["values"]
    assert set(shown) == set(Family.__args__)
    for family, values in shown.items():
        wanted = json.loads(json.dumps(resolve_protocol("linear", family).facts()))
        assert values == wanted
    lines = {line[:15].strip(): line[15:].split() for line in call("show", "linear")[1].splitlines()}
    assert lines["learning rate"] == ["1e-05", "0.0001", "0.00046", "0.0001"]


def test_show_protocol_takes_overrides(call):
    shown = json.loads(call("show", "linear+epochs=3", "--json")[1])["values"]
    assert {values["epochs"] for values in shown.values()} == {3}


@pytest.mark.parametrize(("wrong", "right"), [("agee", "age"), ("lineer", "linear"), ("scrach", "scratch")])
def test_show_offers_near_names_of_all_kinds(call, wrong, right):
    status, _, err = call("show", wrong)
    assert status == 2
    assert "Did you mean" in err
    assert right in err.splitlines()[0]


def test_metrics(call):
    rows = rows_of(call("list", "metrics", "--json")[1], "metrics")
    assert list(rows) == ["acc", "ccc", "icc31", "mae", "pearson", "rmse", "spearman"]
    assert (rows["mae"]["title"], rows["mae"]["better"]) == ("MAE", "lower")
    shown = json.loads(call("show", "spearman", "--json")[1])
    assert (shown["kind"], shown["intervals"], shown["unit"]) == ("metric", False, "none")
    text = call("show", "acc")[1].splitlines()
    assert [line.split()[1:] for line in text if line.startswith(("unit", "digits"))] == [["percent"], ["1"]]
