from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from comface_bench.core.card import (
    Checkpoint,
    MethodCard,
    Preprocess,
    TaskCard,
    card_digest,
    deciding_facts,
    facts,
)

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
METHOD_PROSE = {"build", "summary", "licence", "source", "paper", "training_scale", "training_source"}


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
    """Each field in turn with another value: (its name, whether it's prose, the changed card)."""
    for item in dataclasses.fields(card):
        value = getattr(card, item.name)
        if dataclasses.is_dataclass(value):
            for inner, prose, changed in variants(value):
                yield f"{item.name}.{inner}", prose, dataclasses.replace(card, **{item.name: changed})
            yield item.name, False, dataclasses.replace(card, **{item.name: None})
        else:
            changed = dataclasses.replace(card, **{item.name: mutate(item.name, value)})
            yield item.name, bool(item.metadata.get("prose") or item.metadata.get("offer")), changed


@pytest.mark.parametrize(("card", "count"), [(TASK, 19), (METHOD, 19)], ids=["task", "method"])
def test_digest_follows_every_deciding_fact_and_neither_prose_nor_offers(card, count):
    assert len(dataclasses.fields(card)) >= count
    digests = [card_digest(card)]
    for name, prose, changed in variants(card):
        assert changed != card, name
        if prose:
            assert card_digest(changed) == card_digest(card), name
        else:
            digests.append(card_digest(changed))
    assert len(set(digests)) == len(digests)


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
    assert {item.name for item in dataclasses.fields(TASK) if item.metadata.get("offer")} == {
        "splits",
        "options",
    }
    assert {item.name for item in dataclasses.fields(METHOD) if item.metadata.get("offer")} == {"options"}
    assert facts(METHOD)["options"] == {"backbone": ["a", "b"], "checkpoint": []}
    assert "options" not in deciding_facts(METHOD)
    assert "splits" not in deciding_facts(TASK)


def test_cards_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASK.name = "other"
