from __future__ import annotations

import dataclasses

import pytest

import comface_bench.core.unit as unit_module
from comface_bench.core.augmentation import TABLE_C
from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.protocol import AUGMENTATIONS, resolve_protocol
from comface_bench.core.unit import Unit

TASK = TaskCard(
    name="t",
    version=1,
    family="expression",
    data="D",
    read="m:f",
    target="au1",
    unit="intensity",
    label_range=(0, 5),
    metrics=("mae",),
)
METHOD = MethodCard(
    name="m",
    version=1,
    build=":build",
    backbone="ResNet-50",
    options={"backbone": ("resnet50", "resnet18"), "checkpoint": ()},
)
UNIT = Unit(
    task=TASK,
    method=METHOD,
    protocol=resolve_protocol("finetune", "expression"),
    manifest_digest="a" * 64,
    split_digest="b" * 64,
    fold=0,
    seed=0,
    task_options={"split": "x"},
    method_options={"backbone": "resnet18", "checkpoint": "f" * 64},
    checkpoint_digest="c" * 64,
)
CHANGED = {
    "task": dataclasses.replace(TASK, version=2),
    "method": dataclasses.replace(METHOD, version=2),
    "protocol": resolve_protocol("linear", "expression"),
    "manifest_digest": "d" * 64,
    "split_digest": "d" * 64,
    "fold": 1,
    "seed": 1,
    "task_options": {"split": "y"},
    "method_options": {"backbone": "resnet50", "checkpoint": "f" * 64},
    "checkpoint_digest": None,
}


def test_key_follows_every_field():
    assert set(CHANGED) == {item.name for item in dataclasses.fields(Unit)}
    keys = [
        UNIT.key(),
        *(dataclasses.replace(UNIT, **{name: value}).key() for name, value in CHANGED.items()),
    ]
    assert len(set(keys)) == len(keys)


def test_fold_and_seed_are_not_exchangeable():
    assert dataclasses.replace(UNIT, fold=1).key() != dataclasses.replace(UNIT, seed=1).key()


def test_key_follows_the_engine_epoch(monkeypatch):
    before = UNIT.key()
    monkeypatch.setattr(unit_module, "ENGINE_EPOCH", unit_module.ENGINE_EPOCH + 1)
    assert dataclasses.replace(UNIT).key() != before


def test_key_ignores_the_order_of_options_prose_and_what_is_merely_offered():
    turned = dataclasses.replace(
        UNIT,
        method_options=dict(reversed(UNIT.method_options.items())),
        task=dataclasses.replace(TASK, summary="other", read="other:f", splits=("balanced-4", "more")),
        method=dataclasses.replace(METHOD, licence="other", build="other:f", options={"more": ("a",)}),
    )
    assert turned.key() == UNIT.key()


def test_key_is_64_hexadecimal_digits_and_repeatable():
    assert len(UNIT.key()) == 64
    assert int(UNIT.key(), 16) >= 0
    assert dataclasses.replace(UNIT).key() == UNIT.key()


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(type(UNIT.protocol))])
def test_key_and_protocol_digest_follow_every_value_of_the_protocol(name):
    protocol = UNIT.protocol
    value = getattr(protocol, name)
    other = "none" if name == "augmentation" else value + ("x" if isinstance(value, str) else 1)
    changed = dataclasses.replace(protocol, **{name: other})
    assert changed.digest() != protocol.digest()
    assert dataclasses.replace(UNIT, protocol=changed).key() != UNIT.key()


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(TABLE_C)])
def test_protocol_digest_follows_every_value_of_the_augmentation(name, monkeypatch):
    before = UNIT.protocol.digest()
    value = getattr(TABLE_C, name)
    other = tuple(part / 2 for part in value) if isinstance(value, tuple) else value / 2
    assert other != value
    changed = dataclasses.replace(TABLE_C, **{name: other})
    monkeypatch.setattr("comface_bench.core.protocol.AUGMENTATIONS", {**AUGMENTATIONS, "table-c": changed})
    assert UNIT.protocol.digest() != before


def test_names_carry_the_options():
    assert UNIT.task_name == "t+split=x"
    assert UNIT.method_name == f"m+backbone=resnet18+checkpoint={'f' * 64}"
    assert UNIT.label.endswith("t+split=x · finetune · fold 0 · seed 0")
