"""Units: keys that each deciding fact changes, and seeds."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

import comface_bench.core.unit as unit_module
from comface_bench.core.card import AUGMENTATIONS, TABLE_C, Checkpoint, MethodCard, Preprocess, TaskCard
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.unit import Purpose, Unit, seed_for

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
    checkpoint=Checkpoint("a.pth"),
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


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("task", {"metrics": ("mae", "rmse")}),
        ("task", {"unit": "points"}),
        ("task", {"label_range": (0, 6)}),
        ("task", {"overlaps": ("VGGFace2",)}),
        ("task", {"aggregate": "fold-mean"}),
        ("task", {"ships": True}),
        ("method", {"trained_on": ("ImageNet",)}),
        ("method", {"labels_of": ("DISFA",)}),
        ("method", {"group": "Scratch"}),
        ("method", {"checkpoint": dataclasses.replace(METHOD.checkpoint, file="b.pth")}),
        ("method", {"checkpoint": dataclasses.replace(METHOD.checkpoint, sha256="ab", md5="cd")}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_key_ignores_how_predictions_are_scored_and_shown(part, changes):
    changed = dataclasses.replace(UNIT, **{part: dataclasses.replace(getattr(UNIT, part), **changes)})
    assert changed != UNIT
    assert changed.key() == UNIT.key()


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("task", {"name": "u"}),
        ("task", {"family": "age"}),
        ("task", {"data": "E"}),
        ("task", {"target": "au2"}),
        ("task", {"train_pairs": "pre-post"}),
        ("task", {"test_pairs": "pre-post"}),
        ("task", {"test_pairs_per_subject": 9}),
        ("task", {"pairs_per_image": 8.0}),
        ("task", {"test_data": "E"}),
        ("task", {"seeds_of": "u"}),
        ("method", {"name": "n"}),
        ("method", {"backbone": "ViT-B/16"}),
        ("method", {"feature": "class token"}),
        ("method", {"feature_dim": 512}),
        ("method", {"preprocess": Preprocess(scale=255.0)}),
        ("method", {"checkpoint": dataclasses.replace(METHOD.checkpoint, prefixes=("module.",))}),
        ("method", {"drawn": True}),
        ("method", {"pretrained_head": True}),
        ("method", {"dropped_keys": ("fc.",)}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_key_follows_every_deciding_fact_of_the_cards(part, changes):
    changed = dataclasses.replace(UNIT, **{part: dataclasses.replace(getattr(UNIT, part), **changes)})
    assert changed.key() != UNIT.key()


def test_key_ignores_the_order_of_options_prose_and_what_is_merely_offered():
    turned = dataclasses.replace(
        UNIT,
        method_options=dict(reversed(UNIT.method_options.items())),
        task=dataclasses.replace(TASK, summary="other", read="other:f", splits=("balanced-4", "more")),
        method=dataclasses.replace(METHOD, licence="other", build="other:f", options={"more": ("a",)}),
    )
    assert turned.key() == UNIT.key()


LATER = {"pairs": ("pre-post", "pre-post-same-day")}


def chosen(options, **values):
    task = dataclasses.replace(TASK, options=options)
    return dataclasses.replace(UNIT, task=task, task_options={"split": "x", **values})


def test_an_option_that_a_task_gained_later_leaves_the_keys_of_its_results():
    assert chosen(LATER, pairs="pre-post").key() == UNIT.key()
    assert chosen(LATER, pairs="pre-post").task_name == "t+split=x"
    assert chosen(LATER, pairs="pre-post-same-day").key() != UNIT.key()
    assert chosen(LATER, pairs="pre-post-same-day").task_name == "t+pairs=pre-post-same-day+split=x"


def test_all_options_that_a_task_came_with_are_part_of_its_keys():
    offered = {"pairs": ("all", "pre-post"), "family": ("custom", "age")}
    keys = {
        UNIT.key(),
        *(chosen(offered, pairs=pairs, family="custom").key() for pairs in offered["pairs"]),
        *(chosen(offered, pairs=pairs, family="age").key() for pairs in offered["pairs"]),
    }
    assert len(keys) == 5


def test_key_is_64_hexadecimal_digits_and_repeatable():
    assert len(UNIT.key()) == 64
    assert int(UNIT.key(), 16) >= 0
    assert dataclasses.replace(UNIT).key() == UNIT.key()


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(type(UNIT.protocol))])
def test_key_and_protocol_digest_follow_every_value_of_the_protocol(name):
    protocol = UNIT.protocol
    if name == "chip":  # It decides where faces are cut out, and only there.
        protocol = dataclasses.replace(protocol, align="five-points")
    value = getattr(protocol, name)
    named = {"augmentation": "none", "chip": "arcface", "optimizer": "sgd"}
    other = named.get(name) or value + ("x" if isinstance(value, str) else 1)
    changed = dataclasses.replace(protocol, **{name: other})
    assert changed.digest() != protocol.digest()
    before = dataclasses.replace(UNIT, protocol=protocol)
    assert dataclasses.replace(UNIT, protocol=changed).key() != before.key()


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(TABLE_C)])
def test_protocol_digest_follows_every_value_of_the_augmentation(name, monkeypatch):
    before = UNIT.protocol.digest()
    value = getattr(TABLE_C, name)
    other = tuple(part / 2 for part in value) if isinstance(value, tuple) else value / 2
    assert other != value
    changed = dataclasses.replace(TABLE_C, **{name: other})
    monkeypatch.setattr(
        "comface_bench.engine.protocols.training.AUGMENTATIONS", {**AUGMENTATIONS, "table-c": changed}
    )
    assert UNIT.protocol.digest() != before


def test_names_carry_the_options():
    assert UNIT.task_name == "t+split=x"
    assert UNIT.method_name == f"m+backbone=resnet18+checkpoint={'f' * 64}"
    assert UNIT.label.endswith("t+split=x · finetune · fold 0 · seed 0")


# Written down once: a change of any of these changes every published result.
PINNED = {
    ("split", "FGNET", None, None): 2399328709111557036,
    ("pairs", "age", 0, 0): 3598756043759254022,
    ("augment", "age", 3, 1): 8833317827687283442,
    ("backbone", "all tasks", None, 0): 4094102137843706812,
    ("head", "age", 0, 0): 1634003183031361564,
    ("dropout", "age", 0, 0): 7425291690900811504,
}


@pytest.mark.parametrize("arguments", PINNED, ids=lambda arguments: arguments[0])
def test_values_are_the_same_everywhere_and_always(arguments):
    assert seed_for(*arguments) == PINNED[arguments]


def test_every_purpose_is_pinned():
    assert {purpose for purpose, *_ in PINNED} == set(get_args(Purpose))


def test_no_two_uses_share_a_seed():
    uses = [
        (purpose, task, fold, repetition)
        for purpose in get_args(Purpose)
        for task in ("age", "age1", "edema-a")
        for fold in (None, 0, 1, 11)
        for repetition in (None, 0, 1, 11)
    ]
    assert len({seed_for(*use) for use in uses}) == len(uses)


def test_seeds_fit_a_signed_64_bit_integer():
    seeds = [seed_for("pairs", "age", fold, 0) for fold in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60


def test_the_method_is_no_axis():
    assert list(inspect.signature(seed_for).parameters) == ["purpose", "task", "fold", "repetition"]


def test_unknown_purposes_are_refused():
    with pytest.raises(ValueError, match="unknown seed purpose 'luck'"):
        seed_for("luck", "age")
