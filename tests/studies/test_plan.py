"""Plans of studies: rows, columns, what can run and what is missing."""

from __future__ import annotations

import pytest

from comface_bench.core.errors import BenchError, UnknownNameError, UsageError
from comface_bench.core.registry import task_registry
from comface_bench.execute.plan import PlannedRecord
from comface_bench.studies.plan import Gap, plan_study, shipped_task
from comface_bench.studies.study import find_study, read_study

PLAIN = {"no_plugins": True}


@pytest.mark.parametrize(
    ("name", "counterpart"),
    [
        ("age", "synth-age"),
        ("age+split=leave-one-out", "synth-age+split=leave-one-out"),
        ("edema-a", "synth-weight"),
        ("edema-b", None),
        ("edema-a2b", None),
        ("disfa-au12", "synth-au12"),
        ("disfaplus-au12", None),
        ("unbc-pain", None),
        ("synth-age", "synth-age"),
    ],
)
def test_tasks_have_counterparts_on_the_faces_that_ship(name, counterpart):
    assert shipped_task(name, task_registry(plugins=False)) == counterpart


def test_what_is_missing_is_said_and_keeps_nothing_else_from_being_planned():
    plan = plan_study(find_study("synthetic"), PLAIN | {"task": ["edema-a", "synth-weight"]})
    kinds = {
        (plan.rows[number].method, task): getattr(cell, "short", "")
        for (number, task), cell in plan.cells.items()
    }
    assert kinds == {
        ("stablerep", "edema-a"): "stablerep",
        ("stablerep", "synth-weight"): "stablerep",
        ("comface", "edema-a"): "Edema-A",
        ("comface", "synth-weight"): "",
    }
    assert all(gap.reason and gap.hint for gap in plan.gaps)
    assert [cell.task.name for cell in plan.sweep.cells] == ["synth-weight"]
    plan.check_any()


def test_a_study_of_which_nothing_can_run_says_why_and_offers_the_faces_that_ship():
    with pytest.raises(BenchError, match=r"nothing of age can run: .*FGNET") as raised:
        plan_study(find_study("age"), PLAIN).check_any()
    assert "comface-bench study age --shipped" in raised.value.hint


def test_weights_that_have_to_be_made_come_with_the_lines_that_make_them():
    plan = plan_study(find_study("backbones"), PLAIN, shipped=True)
    gap = plan.cells[1, "synth-age"]
    assert isinstance(gap, Gap)
    assert "comface-resnet50.safetensors" in gap.reason
    assert "comface-bench pretrain" in gap.hint
    assert isinstance(plan.cells[0, "synth-age"], PlannedRecord)


def test_a_protocol_or_option_that_is_not_there_is_a_gap_and_a_name_that_is_not_an_error(write_study):
    text = (
        'method = "comface"\ntask = "synth-age"\n[study]\ntitle = "T"\nmetrics = "mae"\n'
        '[[run]]\nprotocol = "nothing"\n[[run]]\noptions = { nothing = [1, 2] }\n'
        '[[run]]\nprotocol = "probe"\n'
    )
    plan = plan_study(read_study(write_study(text)), PLAIN)
    reasons = [getattr(plan.cells[number, "synth-age"], "reason", "") for number in range(4)]
    assert "no protocol is called 'nothing'" in reasons[0]
    assert reasons[1].startswith("-o nothing=1: nothing takes 'nothing'")
    assert reasons[2].startswith("-o nothing=2: nothing takes 'nothing'")
    assert reasons[3] == ""
    assert [row.label for row in plan.rows] == [
        "comface",
        "comface, nothing 1",
        "comface, nothing 2",
        "comface",
    ]
    for wrong in ({"method": ["nothing"]}, {"task": ["nothing"]}):
        with pytest.raises(UnknownNameError, match="nothing"):
            plan_study(read_study(write_study(text)), PLAIN | wrong)


def test_options_go_to_the_protocols_that_take_them(write_study):
    path = write_study(
        'method = "comface"\ntask = "synth-age"\noptions = { epochs = 3, image_size = 16 }\n'
        '[study]\ntitle = "T"\nmetrics = "mae"\n[[run]]\nprotocol = "probe"\n[[run]]\nprotocol = "linear"\n'
    )
    plan = plan_study(read_study(path), PLAIN)
    assert [cell.protocol.name for cell in plan.sweep.cells] == [
        "probe+image_size=16",
        "linear+epochs=3+image_size=16",
    ]


def test_rows_are_by_method_then_by_options_and_named_after_what_varies():
    plan = plan_study(find_study("label-fraction"), PLAIN | {"options": {"image_size": ["16"]}}, shipped=True)
    assert [row.label for row in plan.rows[:2]] == [
        "scratch+backbone=resnet18, train_fraction 0.1",
        "scratch+backbone=resnet18, train_fraction 0.25",
    ]
    assert [row.x for row in plan.rows[:4]] == ["0.1", "0.25", "0.5", "1"]
    assert {row.line for row in plan.rows[:4]} == {"scratch+backbone=resnet18"}
    tasks = {cell.task.name for cell in plan.sweep.cells}
    assert {"synth-age", "synth-age+train_fraction=0.1", "synth-weight+train_fraction=0.5"} <= tasks
    two = plan_study(find_study("linear-heads"), PLAIN | {"protocol": ["linear", "finetune"]}, shipped=True)
    assert [row.label[:3] for row in two.rows] == ["(a)", "(a)", "(b)", "(b)"]
    assert two.rows[1].label.endswith(", protocol finetune")


def test_a_label_that_names_no_option_is_refused(write_study):
    path = write_study(
        'method = "comface"\ntask = "synth-age"\n[study]\ntitle = "T"\nmetrics = "mae"\n'
        '[[run]]\nstudy = { row = "{nothing}" }\n'
    )
    with pytest.raises(UsageError, match="names 'nothing', which is no option"):
        plan_study(read_study(path), PLAIN)


def test_the_small_form_ships_and_gives_way_to_the_command_line():
    plan = plan_study(find_study("linear-heads"), PLAIN | {"options": {"image_size": ["16"]}}, small=True)
    assert {column.task for column in plan.columns} == {"synth-au12"}
    assert {unit.fold for cell in plan.sweep.cells for unit in cell.units} == {0}
    assert {cell.protocol.image_size for cell in plan.sweep.cells} == {16}


@pytest.mark.parametrize("name", ["action-units", "age"])
def test_the_small_form_leaves_out_what_another_protocol_does_not_take(name):
    plan = plan_study(find_study(name), PLAIN | {"protocol": ["probe"]}, small=True)
    reasons = {cell.reason for cell in plan.cells.values() if isinstance(cell, Gap)}
    assert not any("epochs" in reason or "pairs_per_epoch" in reason for reason in reasons)
    assert {cell.protocol.image_size for cell in plan.sweep.cells} == {32}
    both = plan_study(find_study(name), PLAIN | {"protocol": ["probe", "linear"]}, small=True)
    assert {cell.protocol.name.partition("+")[0] for cell in both.sweep.cells} == {"probe", "linear"}
