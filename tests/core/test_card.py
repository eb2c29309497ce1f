"""Cards of tasks and methods, and the augmentations of the supplement's tables."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Mapping

import pytest

from comface_bench.core.card import (
    NO_AUGMENTATION,
    TABLE_B,
    TABLE_C,
    TABLE_D,
    TABLE_E,
    Augmentation,
    Checkpoint,
    MethodCard,
    Preprocess,
    TaskCard,
    card_digest,
    deciding_facts,
    facts,
    fixed_facts,
)
from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError

TASK = TaskCard(
    name="t",
    version=1,
    family="age",
    data="D",
    read="m:f",
    target="age",
    unit="years",
    label_range=(0, 120),
    metrics=("mae", "pearson"),
    test_pairs_per_subject=7,
)
METHOD = MethodCard(
    name="m",
    version=1,
    build=":build",
    backbone="ResNet-50",
    feature_dim=2048,
    preprocess=Preprocess(size=64),
    checkpoint=Checkpoint("a.pth", "ab", "https://example.org/a.pth"),
    options={"backbone": ("a", "b"), "checkpoint": ()},
    dropped_keys=("fc.",),
)
OTHER_WORD = {
    "family": "weight",
    "train_pairs": "pre-post",
    "test_pairs": "pre-post",
    "aggregate": "fold-mean",
    "group": "Scratch",
    "channels": "BGR",
}

TASK_PROSE = {"read", "location", "summary", "licence", "how_to_get", "source"}
TASK_DECIDES = {
    *("name", "version", "family", "data", "target", "test_data", "seeds_of"),
    *("train_pairs", "test_pairs", "test_pairs_per_subject", "pairs_per_image"),
}
METHOD_DECIDES = {
    *("name", "version", "backbone", "feature", "feature_dim", "drawn", "pretrained_head", "dropped_keys"),
    *("preprocess", "checkpoint", "checkpoint.prefixes"),
    *(f"preprocess.{item.name}" for item in dataclasses.fields(Preprocess)),
}
METHOD_PROSE = {
    *("build", "chip", "label_head", "summary", "licence", "source", "paper"),
    *("training_scale", "training_source"),
}


def mutate(name, value):
    if name in OTHER_WORD:
        return OTHER_WORD[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value[:-1], mutate("", value[-1])) if value else ("x",)
    if isinstance(value, Mapping):
        return {**value, "new": ("x",)}
    if value is None:
        return 3
    raise AssertionError(f"no mutation for {value!r}")


def variants(card):
    """Each field in turn with another value: (its name, its kind, the changed card)."""
    for item in dataclasses.fields(card):
        value = getattr(card, item.name)
        if dataclasses.is_dataclass(value):
            for inner, kind, changed in variants(value):
                yield f"{item.name}.{inner}", kind, dataclasses.replace(card, **{item.name: changed})
            yield item.name, None, dataclasses.replace(card, **{item.name: None})
        else:
            changed = dataclasses.replace(card, **{item.name: mutate(item.name, value)})
            yield item.name, item.metadata.get("kind"), changed


@pytest.mark.parametrize(("card", "count"), [(TASK, 20), (METHOD, 19)], ids=["task", "method"])
def test_digest_follows_every_deciding_fact_and_neither_prose_nor_offers(card, count):
    assert len(dataclasses.fields(card)) >= count
    digests = [card_digest(card)]
    for name, kind, changed in variants(card):
        assert changed != card, name
        if kind in ("prose", "offer"):
            assert card_digest(changed) == card_digest(card), name
        else:
            digests.append(card_digest(changed))
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("card", "deciding"), [(TASK, TASK_DECIDES), (METHOD, METHOD_DECIDES)], ids=["task", "method"]
)
def test_exactly_these_facts_decide_a_prediction(card, deciding):
    kind, known = type(card), {name for name, _, _ in variants(card)}
    assert deciding <= known
    plain = digest(deciding_facts(facts(card), kind))
    for name, _, changed in variants(card):
        same = digest(deciding_facts(facts(changed), kind)) == plain
        assert same == (name not in deciding), name


@pytest.mark.parametrize(
    ("card", "prose"), [(TASK, TASK_PROSE), (METHOD, METHOD_PROSE)], ids=["task", "method"]
)
def test_facts_leave_out_prose_and_nothing_else(card, prose):
    everything = {item.name for item in dataclasses.fields(card)}
    assert set(facts(card)) == everything - prose


def test_nested_facts_leave_out_prose():
    assert facts(METHOD)["checkpoint"] == {"file": "a.pth", "sha256": "ab", "md5": "", "prefixes": [""]}
    assert facts(METHOD)["preprocess"]["size"] == 64


def test_offers_are_facts_that_decide_nothing():
    offers = [
        {item.name for item in dataclasses.fields(card) if item.metadata.get("kind") == "offer"}
        for card in (TASK, METHOD)
    ]
    assert offers == [{"splits", "options"}, {"options"}]
    assert facts(METHOD)["options"] == {"backbone": ["a", "b"], "checkpoint": []}
    assert "options" not in fixed_facts(facts(METHOD), MethodCard)
    assert "splits" not in fixed_facts(facts(TASK), TaskCard)


def test_cards_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASK.name = "other"


def test_the_tables_hold_the_published_values():
    colours = {"jitter_prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    crops = {TABLE_B: (0.2, 1.0), TABLE_C: (0.5, 1.0), TABLE_D: None, TABLE_E: (0.5, 1.0)}
    for table, crop in crops.items():
        expected = {"flip": 0.5, **colours, "grayscale_prob": 0.2, "crop_scale": crop}
        assert dataclasses.asdict(table) == {**expected, "crop_ratio": (3 / 4, 4 / 3)}
    assert dataclasses.asdict(NO_AUGMENTATION) == dataclasses.asdict(Augmentation())
    assert digest(TABLE_B) != digest(TABLE_C) == digest(TABLE_E)


@pytest.mark.parametrize(
    "fact",
    [
        {"flip": -0.1},
        {"jitter_prob": 1.1},
        {"grayscale_prob": float("nan")},
        {"brightness": float("inf")},
        {"contrast": -1},
        {"saturation": -1},
        {"hue": 0.6},
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.8, 0.5)},
        {"crop_scale": (0.5, 1.1)},
        {"crop_ratio": (0.0, 1.0)},
        {"crop_ratio": (2.0, 1.0)},
    ],
)
def test_impossible_facts_are_refused(fact):
    with pytest.raises(ValueError, match=next(iter(fact))):
        Augmentation(**fact)


@pytest.mark.parametrize(
    "ends", [(-math.inf, math.inf), (0.0, math.nan), (math.nan, 1.0), (3, 3), (5.0, -5.0)]
)
def test_a_range_of_labels_that_is_none_is_refused(ends):
    with pytest.raises(UsageError, match=f"task {TASK.name}: label_range is .*must be finite") as caught:
        dataclasses.replace(TASK, label_range=ends)
    assert "(-1e9, 1e9)" in caught.value.hint


def test_importing_it_needs_no_torch():
    heavy = {"torch", "numpy", "pandas"}
    code = f"import sys, comface_bench.core.card; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
