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


TASKS = """
from comface_bench.core.card import TaskCard

CARDS = []


def card(name):
    return TaskCard(name=name, version=1, family="custom", data="own", read=":read", target="t", unit="u",
                    label_range=(0, 1), metrics=("mae",))


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


@pytest.mark.parametrize("kind", ["methods", "tasks", "protocols", "metrics"])
@pytest.mark.parametrize("columns", [80, 60, 40, 30])
def test_every_name_has_one_line_that_fits_the_terminal(call, on_terminal, kind, columns):
    names = list(rows_of(call("list", kind, "--json")[1], kind))
    lines = on_terminal(columns, "list", kind, "--all")
    table = lines[: lines.index("")] if "" in lines else lines
    assert [line.split()[0] for line in table] == ["name", *names]
    assert max(map(len, lines)) <= columns or kind == "methods"
    assert max(map(len, table)) <= columns


@pytest.mark.parametrize("kind", ["methods", "tasks", "protocols", "metrics"])
def test_a_line_of_80_characters_cuts_nothing(call, on_terminal, kind):
    piped = call("list", kind)[1].splitlines()
    table = piped[: piped.index("")] if "" in piped else piped
    assert on_terminal(80, "list", kind)[: len(table)] == table
    assert max(map(len, table)) <= 80


def test_tasks_that_differ_by_a_number_share_a_line(call):
    lines = call("list", "tasks")[1].splitlines()
    table, notes = lines[: lines.index("")], lines[lines.index("") :]
    first = [line.split()[0] for line in table]
    assert first.count("disfa-au*") == first.count("disfaplus-au*") == first.count("synth-au*") == 1
    assert not any(name in first for name in ("disfa-au1", "synth-au26"))
    assert {"edema-a", "edema-b", "age"} <= set(first)
    (line,) = [line for line in table if line.startswith("synth-au* ")]
    assert line.split() == ["synth-au*", "ships", "synthfaces/DISFA", "12:", "au1", "…", "au26", "intensity"]
    numbers = "1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26"
    assert f"disfa-au*, disfaplus-au*, synth-au*: {numbers}; a line for each: --all" in notes


def test_a_pattern_that_would_mean_other_tasks_too_is_no_line(call, tmp_path):
    card = TASKS + "".join(f'CARDS.append(card("own-{name}"))\n' for name in ("1", "2", "10"))
    (tmp_path / "own.py").write_text(card)
    words = ("list", "tasks", "own-*", "--plugin", tmp_path / "own.py")
    assert [line.split()[0] for line in call(*words)[1].splitlines() if line][:2] == ["name", "own-*"]
    (tmp_path / "own.py").write_text(card + 'CARDS.append(card("own-x"))\n')
    first = [line.split()[0] for line in call(*words)[1].splitlines()]
    assert first == ["name", "own-1", "own-10", "own-2", "own-x"]


def test_a_pattern_narrows_the_list_and_opens_a_family(call):
    assert list(rows_of(call("list", "tasks", "edema-?", "--json")[1], "tasks")) == ["edema-a", "edema-b"]
    out = call("list", "methods", "timm/resnet18*")[1]
    assert out.split() == ["name", "timm/resnet18", "timm/resnet18d"]
    status, _, err = call("list", "methods", "farll")
    assert (status, "Did you mean farl" in err) == (2, True)
    assert call("list", "tasks", "csv:*")[0] == 2


def test_show_takes_no_pattern(call):
    status, _, err = call("show", "timm/*")
    assert (status, "'timm/*' is a pattern" in err) == (2, True)


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
    (line,) = [line for line in call("list", "methods")[1].splitlines() if line.startswith("greedy")]
    assert line.split() == ["greedy", "greedy", "(greedy)"]
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
