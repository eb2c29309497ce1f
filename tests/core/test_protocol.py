from __future__ import annotations

import dataclasses

import pytest

from comface_bench.core.card import AUGMENTATIONS, CHIPS, Augmentation
from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import parse_name
from comface_bench.core.protocol import (
    override_keys,
    parse_override,
    protocol_names,
    protocol_registry,
    resolve_protocol,
)
from comface_bench.engine.protocols.training import Training

# Supplement: "random horizontal flip (p = 0.5) + random color jitter (p = 0.8, brightness = 0.4,
# contrast = 0.4, saturation = 0.4, hue = 0.1) + random grayscale conversion (p = 0.2)", in all tables.
COMMON = {
    "flip": 0.5,
    "jitter_prob": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grayscale_prob": 0.2,
    "crop_ratio": (3 / 4, 4 / 3),
}
# Table -> (family, learning rate, "random resized crop (scale = …)"); batch 16, Adam, 224 × 224 in each.
PUBLISHED = {
    "Table C": ("expression", 1.0e-5, (0.5, 1.0)),
    "Table D": ("weight", 1.0e-4, None),
    "Table E": ("age", 4.6e-4, (0.5, 1.0)),
}
# Table C: "20 (linear evaluation) / 10 (fine-tuning)"; D and E: "10 (fine-tuning)".
EPOCHS = {"linear": 20, "finetune": 10}


@pytest.mark.parametrize("table", PUBLISHED)
@pytest.mark.parametrize("name", EPOCHS)
def test_values_are_the_published_ones(table, name):
    family, learning_rate, crop = PUBLISHED[table]
    protocol = resolve_protocol(name, family)
    assert protocol.name == name
    assert protocol.learning_rate == learning_rate
    assert protocol.batch_size == 16
    assert (protocol.optimizer, protocol.schedule) == ("adam", "none")
    assert protocol.epochs == EPOCHS[name]
    assert protocol.image_size == 224
    augmentation = protocol.facts()["augmentation"]
    assert augmentation.pop("name") == protocol.augmentation
    assert augmentation == {**COMMON, "crop_scale": crop}
    assert protocol.trains == {"linear": "head", "finetune": "backbone"}[name]


def test_augmentation_of_table_b_crops_more():
    assert dataclasses.asdict(AUGMENTATIONS["table-b"]) == {**COMMON, "crop_scale": (0.2, 1.0)}


def test_no_augmentation_changes_nothing():
    none = AUGMENTATIONS["none"]
    assert none == Augmentation()
    assert (none.flip, none.jitter_prob, none.grayscale_prob, none.crop_scale) == (0, 0, 0, None)


def test_no_augmentation_has_a_field_called_name():
    assert "name" not in {item.name for item in dataclasses.fields(Augmentation)}


def test_custom_tasks_have_a_protocol():
    protocol = resolve_protocol("finetune", "custom")
    assert (protocol.learning_rate, protocol.augmentation) == (1.0e-4, "table-c")


def test_our_choices():
    protocol = resolve_protocol("linear", "expression")
    assert (protocol.loss, protocol.head, protocol.pairs_per_epoch, protocol.resize) == (
        "l1",
        "difference",
        "auto",
        "squash",
    )


def test_quick_is_small_for_every_family():
    for family in ("expression", "weight", "age", "custom"):
        quick = resolve_protocol("quick", family)
        assert quick.image_size < 224
        assert quick.epochs < 10
        assert quick.learning_rate == 5.0e-4
        assert quick.augmentation == "table-d"
        assert quick.name == "quick"


def test_every_protocol_has_a_summary():
    assert protocol_names() == ["probe", "linear", "finetune", "quick", "patient-specific"]
    assert all(entry.card.summary for entry in protocol_registry().declared())


@pytest.mark.parametrize(
    ("name", "pretrained_head", "start"),
    [
        ("linear", False, "scratch"),  # (a)
        ("linear", True, "scratch"),  # (a) also for a method with a head: Table 1's protocol
        ("finetune", False, "scratch"),  # (c)
        ("finetune", True, "pretrained"),  # (d), ComFace's default
        ("quick", True, "pretrained"),
    ],
)
def test_head_start_by_default(name, pretrained_head, start):
    protocol = resolve_protocol(name, "age", pretrained_head=pretrained_head)
    assert protocol.head_start == start
    assert protocol.name == name


def test_head_start_by_override():
    b = resolve_protocol("linear", "age", {"head_start": "pretrained"}, pretrained_head=True)
    assert (b.name, b.head_start) == ("linear+head_start=pretrained", "pretrained")
    c = resolve_protocol("finetune", "age", {"head_start": "scratch"}, pretrained_head=True)
    assert (c.name, c.head_start) == ("finetune+head_start=scratch", "scratch")


@pytest.mark.parametrize("name", ["linear", "finetune"])
def test_a_pretrained_head_needs_a_method_that_brings_one(name):
    with pytest.raises(UsageError, match="head_start=pretrained needs a method") as caught:
        resolve_protocol(name, "age", {"head_start": "pretrained"})
    assert "--method comface" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", "3", 3),
        ("epochs", "0", 0),
        ("batch_size", "1", 1),
        ("learning_rate", "1e-3", 1e-3),
        ("image_size", "112", 112),
        ("resize", "crop", "crop"),
        ("augmentation", "none", "none"),
        ("views", "epoch", "epoch"),
        ("views", "4", 4),
        ("pairs_per_epoch", "10", 10),
        ("optimizer", "adamw", "adamw"),
        ("schedule", "cosine", "cosine"),
        ("loss", "smooth-l1", "smooth-l1"),
        ("head", "concat", "concat"),
    ],
)
def test_overrides_are_typed_and_named(key, text, value):
    protocol = resolve_protocol("finetune", "age", {key: text})
    found = getattr(protocol, key)
    assert found == value
    assert type(found) is type(value)
    assert protocol.name == f"finetune+{key}={value}"
    untouched = {item.name for item in dataclasses.fields(protocol)} - {key, "name"}
    standard = resolve_protocol("finetune", "age")
    assert all(getattr(protocol, item) == getattr(standard, item) for item in untouched)


def test_every_field_but_those_of_cards_can_be_set():
    fields = [item.name for item in dataclasses.fields(resolve_protocol("linear", "age"))]
    fixed = ("name", "version", "trains", "chip")
    assert override_keys(Training) == [item for item in fields if item not in fixed]


def test_names_sort_overrides_and_leave_out_defaults():
    protocol = resolve_protocol("finetune", "age", {"loss": "l2", "image_size": "112", "batch_size": "16"})
    assert protocol.name == "finetune+image_size=112+loss=l2"


@pytest.mark.parametrize(
    "key", ["epochs", "batch_size", "learning_rate", "image_size", "augmentation", "loss"]
)
def test_an_override_that_equals_the_default_changes_nothing(key):
    standard = resolve_protocol("finetune", "age")
    same = resolve_protocol("finetune", "age", {key: str(getattr(standard, key))})
    assert same == standard
    assert same.digest() == standard.digest()


@pytest.mark.parametrize("rate", ["0.00012345678", "0.00012345679", "1e-05", "9.999999999"])
def test_a_learning_rate_survives_its_name(rate):
    protocol = resolve_protocol("finetune", "age", {"learning_rate": rate})
    base, options = parse_name(protocol.name)
    assert resolve_protocol(base, "age", options) == protocol


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("epochs", "three", "epochs=three: not a whole number"),
        ("epochs", "1.5", "not a whole number"),
        ("epochs", "-1", "less than 0"),
        ("batch_size", "0", "less than 1"),
        ("image_size", "15", "less than 16"),
        ("pairs_per_epoch", "0", "less than 1"),
        ("image_size", "1000000", "more than 2048"),
        ("batch_size", "1" + "0" * 400, "more than 100000"),
        ("epochs", "1000000", "more than 100000"),
        ("pairs_per_epoch", "1000000000000", "more than 10000000"),
        ("learning_rate", "fast", "not a number"),
        ("learning_rate", "0", "not between 0 and 10"),
        ("learning_rate", "nan", "not between 0 and 10"),
        ("learning_rate", "inf", "not between 0 and 10"),
        ("loss", "huber", "not one of l1, l2, smooth-l1"),
        ("loss", "smoothl1", "Did you mean smooth-l1"),
        ("views", "image", "not a whole number, nor epoch or pair"),
        ("views", "epochs", "nor epoch or pair. Did you mean epoch?"),
        ("views", "0", "less than 1"),
        ("augmentation", "table-z", "not one of none, table-b"),
        ("epoch", "3", "'epoch' can't be set. Did you mean epochs"),
        ("name", "x", "'name' can't be set"),
        ("trains", "head", "'trains' can't be set"),
        ("digest", "x", "'digest' can't be set"),
    ],
)
def test_bad_overrides_say_why(key, text, told):
    with pytest.raises(UsageError) as caught:
        parse_override(key, text, Training)
    assert told in str(caught.value)
    with pytest.raises(UsageError):
        resolve_protocol("finetune", "age", {key: text})


def test_frozen_features_cannot_be_rendered_anew_for_each_pair():
    with pytest.raises(UsageError, match="views=pair"):
        resolve_protocol("linear", "age", {"views": "pair"})


def test_unknown_protocols_offer_near_ones():
    with pytest.raises(UnknownNameError, match=r"no protocol is called 'finetun'.*Did you mean finetune"):
        resolve_protocol("finetun", "age")


def test_a_concatenating_head_starts_from_scratch():
    protocol = resolve_protocol("finetune", "age", {"head": "concat"}, pretrained_head=True)
    assert (protocol.head_start, protocol.name) == ("scratch", "finetune+head=concat")
    with pytest.raises(UsageError, match="head=difference"):
        resolve_protocol(
            "finetune", "age", {"head": "concat", "head_start": "pretrained"}, pretrained_head=True
        )


def test_precision_is_a_choice_like_any_other():
    assert resolve_protocol("linear", "age").precision == "auto"
    assert resolve_protocol("linear", "age", {"precision": "float32"}).name == "linear+precision=float32"


@pytest.mark.parametrize("name", ["probe", "linear", "finetune", "quick"])
def test_every_protocol_aligns_faces_if_asked(name):
    plain, aligned = (resolve_protocol(name, "age", given) for given in ({}, {"align": "five-points"}))
    assert aligned.name == f"{name}+align=five-points"
    # Whole photographs have the keys that they had before there was a choice.
    assert not {"align", "chip"} & plain.facts().keys()
    assert resolve_protocol(name, "age", {"align": "none"}).facts() == plain.facts()
    assert aligned.facts() == plain.facts() | {
        "name": aligned.name,
        "align": {"name": "five-points", "chip": "dlib", "points": CHIPS["dlib"].points},
    }
    other = resolve_protocol(name, "age", {"align": "five-points"}, chip="arcface")
    assert other.name == aligned.name
    assert other.facts()["align"] == {
        "name": "five-points",
        "chip": "arcface",
        "points": CHIPS["arcface"].points,
    }
    assert other.digest() != aligned.digest()
    # The chip decides nothing where nothing is aligned.
    assert resolve_protocol(name, "age", chip="arcface").digest() == plain.digest()


@pytest.mark.parametrize(
    ("given", "chip", "told"),
    [
        ({"align": "seven-points"}, "dlib", "not one of none, five-points"),
        ({"align": "five-points", "resize": "crop"}, "dlib", "resize=crop"),
        ({"chip": "arcface"}, "dlib", "can't be set"),
        ({}, "mine", "no chip 'mine'"),
    ],
)
def test_alignments_that_mean_nothing_are_refused(given, chip, told):
    with pytest.raises(UsageError, match=told):
        resolve_protocol("probe", "age", given, chip=chip)
