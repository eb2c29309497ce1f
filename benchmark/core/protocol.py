"""Protocols: how a method is trained on a task, every value resolved.

`linear` and `finetune` carry the values of the supplement's Tables C (expression), D (weight) and
E (age); what the supplement leaves open is ours and listed in `docs/choices.md`. `quick` is for
laptops: small images, few epochs; its name keeps its records apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from comface_bench.core.augmentation import (
    AUGMENTATIONS,
)
from comface_bench.core.card import Family
from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.core.names import unknown_name


@dataclass(frozen=True)
class Protocol:
    """A resolved protocol; every field enters the key of a unit.

    Attributes:
        name: `linear`, `finetune` or `quick`, with overrides as `+key=value`.
        trains: `head` keeps the backbone frozen in eval mode; `backbone` trains both.
        epochs: Passes of `pairs_per_epoch` training pairs.
        batch_size: Pairs a step.
        learning_rate: Of Adam, constant.
        image_size: Side of the square images in pixels.
        resize: `squash` fits the whole image into the square, `crop` its centre.
        augmentation: Name of the augmentation (`AUGMENTATIONS`).
        views: `epoch` renders each image once an epoch, `pair` anew for each pair it is part of.
        pairs_per_epoch: Training pairs drawn anew each epoch, uniformly over within-subject pairs.
        loss: Of the predicted against the true change.
        head: `difference` is w·(f(y) − f(x)), `concat` is w·[f(x), f(y)].
        head_start: `scratch` draws w from the head seed, `pretrained` takes the method's own;
            settings (a) to (d) of the supplement's C.4 and C.5.
        precision: Of the backbone. `auto` computes a frozen backbone in float32, and one that is trained
            in bfloat16 where the processor computes in it; each unit records which it was.
    """

    name: str
    trains: Literal["head", "backbone"]
    epochs: int
    batch_size: int
    learning_rate: float
    image_size: int
    resize: Literal["squash", "crop"]
    augmentation: str
    views: Literal["epoch", "pair"]
    pairs_per_epoch: int
    loss: Literal["l1", "l2", "smooth-l1"]
    head: Literal["difference", "concat"]
    head_start: Literal["scratch", "pretrained"]
    precision: Literal["auto", "float32", "bfloat16"]

    def facts(self) -> dict[str, Any]:
        """Return every value, the augmentation's own values spelled out."""
        values = dataclasses.asdict(self)
        values["augmentation"] = {
            "name": self.augmentation,
            **dataclasses.asdict(AUGMENTATIONS[self.augmentation]),
        }
        return values

    def digest(self) -> str:
        """Return the SHA-256 of all values."""
        return digest(self.facts())


# Supplement, Tables C, D and E. "custom" is ours: Table C's augmentation at Table D's learning rate.
_LEARNING_RATE: Mapping[Family, float] = {
    "expression": 1.0e-5,
    "weight": 1.0e-4,
    "age": 4.6e-4,
    "custom": 1.0e-4,
}
_AUGMENTATION: Mapping[Family, str] = {
    "expression": "table-c",
    "weight": "table-d",
    "age": "table-e",
    "custom": "table-c",
}

_SHARED: Mapping[str, Any] = {
    "batch_size": 16,
    "image_size": 224,
    "resize": "squash",
    "pairs_per_epoch": 1600,
    "loss": "l1",
    "head": "difference",
    "head_start": "scratch",
    "precision": "auto",
}

_PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "linear": {**_SHARED, "trains": "head", "views": "epoch", "epochs": 20},
    "finetune": {**_SHARED, "trains": "backbone", "views": "pair", "epochs": 10},
    "quick": {
        **_SHARED,
        "trains": "backbone",
        "views": "pair",
        "epochs": 6,
        "image_size": 64,
        "pairs_per_epoch": 480,
        # At 64 pixels and in so few steps, crops cost more than they teach.
        "augmentation": "table-d",
        "learning_rate": 5.0e-4,
    },
}

SUMMARIES: Mapping[str, str] = {
    "linear": "frozen backbone, linear pair head, 20 epochs (Tables C–E; setting a, or b by head_start)",
    "finetune": "backbone and head trained, 10 epochs (Tables C–E; setting c, d where a head is pre-trained)",
    "quick": "fine-tuning at 64 pixels in a few short epochs, for laptops and CI; never beside the others",
}

_LEAST: Mapping[str, float] = {
    "epochs": 0,
    "batch_size": 1,
    "image_size": 16,
    "pairs_per_epoch": 1,
}


def protocol_names() -> list[str]:
    """Return the names of the protocols."""
    return list(_PROTOCOLS)


def override_keys() -> list[str]:
    """Return the fields of a protocol that an override may set."""
    fixed = {"name", "trains"}
    return [item.name for item in dataclasses.fields(Protocol) if item.name not in fixed]


def resolve_protocol(
    name: str, family: Family, overrides: Mapping[str, str] | None = None, pretrained_head: bool = False
) -> Protocol:
    """Resolve a protocol for a family of tasks.

    Args:
        name: Name without overrides.
        family: The task's family; picks learning rate and augmentation.
        overrides: Field → value as typed by the user; checked against the field's type.
        pretrained_head: The method brings a pair head. Fine-tuning then starts from it, setting (d).

    Raises:
        UnknownNameError: The protocol doesn't exist.
        UsageError: A key is no field, or a value doesn't fit it.
    """
    if name not in _PROTOCOLS:
        raise unknown_name(name, _PROTOCOLS, "protocol")
    values = {
        "learning_rate": _LEARNING_RATE[family],
        "augmentation": _AUGMENTATION[family],
        **_PROTOCOLS[name],
    }
    if pretrained_head and values["trains"] == "backbone":
        values["head_start"] = "pretrained"
    standard = Protocol(name=name, **values)
    changed = {key: parse_override(key, text) for key, text in (overrides or {}).items()}
    changed = {key: value for key, value in changed.items() if value != getattr(standard, key)}
    if changed.get("head") == "concat" and "head_start" not in (overrides or {}):
        # A pre-trained head weighs a difference of features; concatenated ones need a head of their own.
        standard = dataclasses.replace(standard, head_start="scratch")
    protocol = dataclasses.replace(
        standard,
        name="+".join([name, *(f"{key}={_text(changed[key])}" for key in sorted(changed))]),
        **changed,
    )
    if protocol.head_start == "pretrained" and not pretrained_head:
        raise UsageError(
            "head_start=pretrained needs a method that brings a pair head",
            "Leave it out, or use a method with one: --method comface",
        )
    if protocol.head_start == "pretrained" and protocol.head == "concat":
        raise UsageError(
            "head_start=pretrained needs head=difference, which is what pre-trained heads weigh",
            "Leave one of the two out.",
        )
    if protocol.trains == "head" and protocol.views == "pair":
        raise UsageError(
            "views=pair needs a protocol that trains the backbone: frozen features are shared between pairs",
            "Leave it out, or use --protocol finetune.",
        )
    return protocol


def parse_override(key: str, text: str) -> Any:
    """Turn what the user typed for one field into a value of its type.

    Raises:
        UsageError: The key is no field that can be set, or the value doesn't fit.
    """
    if key not in override_keys():
        raise UsageError(f"{key!r} can't be set", f"A protocol takes: {', '.join(override_keys())}")
    wanted = get_type_hints(Protocol)[key]
    choices = (
        AUGMENTATIONS if key == "augmentation" else get_args(wanted) if get_origin(wanted) is Literal else ()
    )
    if choices:
        if text not in choices:
            raise UsageError(f"{key}={text}: not one of {', '.join(choices)}")
        return text
    try:
        value = wanted(text)
    except ValueError as error:
        kind = "a whole number" if wanted is int else "a number"
        raise UsageError(f"{key}={text}: not {kind}") from error
    if key == "learning_rate" and not 0 < value < 10:
        raise UsageError(f"{key}={text}: not between 0 and 10")
    if value < _LEAST.get(key, float("-inf")):
        raise UsageError(f"{key}={text}: less than {_LEAST[key]:g}")
    return value


def _text(value: object) -> str:
    # All digits of a number, so that two settings never share a name.
    return repr(value) if isinstance(value, float) else str(value)
