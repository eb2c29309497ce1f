"""The protocols that train by gradient descent: `linear`, `finetune` and `quick`.

`linear` and `finetune` carry the values of the supplement's Tables C (expression), D (weight) and
E (age); what the supplement leaves open is ours and listed in `docs/choices.md`. `quick` is for
laptops: small images, few epochs; its name keeps its records apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from comface_bench.core.card import AUGMENTATIONS, Family
from comface_bench.core.errors import UsageError
from comface_bench.core.protocol import LARGEST_IMAGE, Protocol, ProtocolCard

if TYPE_CHECKING:
    import torch

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "sgd": {"momentum": 0.9},
}
"""Name → everything but the learning rate; Tables C to E name Adam and no value of it, so these are ours."""


@dataclass(frozen=True, kw_only=True)
class Training(Protocol):
    """A resolved protocol of training by gradient descent.

    Attributes:
        epochs: Passes of `pairs_per_epoch` training pairs.
        batch_size: Pairs a step.
        optimizer: Name of the optimiser (`OPTIMIZERS`).
        learning_rate: Its rate at the start.
        schedule: How the rate goes on from epoch to epoch, as `rate` says.
        image_size: Side of the square images in pixels.
        resize: `squash` fits the whole image into the square, `crop` its centre.
        augmentation: Name of the augmentation (`AUGMENTATIONS`).
        views: `epoch` renders each image once an epoch, `pair` anew for each pair it is part of. A number K
            makes K views of each image, which epochs take in turn.
        pairs_per_epoch: Training pairs drawn anew each epoch, uniformly over within-subject pairs. `auto`
            follows the data: `pairs_per_image` of the task's card for each training image of the fold.
        loss: Of the predicted against the true change.
        head: `difference` is w·(f(y) − f(x)), `concat` is w·[f(x), f(y)].
        head_start: `scratch` draws w from the head seed, `pretrained` takes the method's own;
            settings (a) to (d) of the supplement's C.4 and C.5.
        precision: Of the backbone. `auto` computes a frozen backbone in float32, and one that is trained
            in bfloat16 where the processor computes in it; each unit records which it was.
    """

    epochs: int = field(metadata={"least": 0, "most": 100_000})
    batch_size: int = field(metadata={"least": 1, "most": 100_000})
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: float = field(metadata={"between": (0, 10)})
    schedule: Literal["none", "cosine", "halved"]
    image_size: int = field(metadata={"least": 16, "most": LARGEST_IMAGE})
    resize: Literal["squash", "crop"]
    augmentation: str = field(metadata={"choices": tuple(AUGMENTATIONS)})
    views: int | Literal["epoch", "pair"] = field(metadata={"least": 1, "most": 100_000})
    pairs_per_epoch: int | Literal["auto"] = field(metadata={"least": 1, "most": 10_000_000})
    loss: Literal["l1", "l2", "smooth-l1"]
    head: Literal["difference", "concat"]
    head_start: Literal["scratch", "pretrained"]
    precision: Literal["auto", "float32", "bfloat16"]

    @classmethod
    def start(
        cls, values: Mapping[str, Any], overrides: Mapping[str, str], pretrained_head: bool
    ) -> dict[str, Any]:
        """Return the values before overrides: fine-tuning starts from the method's pair head, setting (d)."""
        started = dict(values)
        if pretrained_head and started["trains"] == "backbone":
            started["head_start"] = "pretrained"
        if overrides.get("head", started["head"]) == "concat" and "head_start" not in overrides:
            # A pre-trained head weighs a difference of features; concatenated ones need a head of their own.
            started["head_start"] = "scratch"
        return started

    def check(self, pretrained_head: bool) -> None:
        """Check head start and views.

        Raises:
            UsageError: They don't fit the method or each other.
        """
        if self.head_start == "pretrained" and not pretrained_head:
            raise UsageError(
                "head_start=pretrained needs a method that brings a pair head",
                "Leave it out, or use a method with one: --method comface",
            )
        if self.head_start == "pretrained" and self.head == "concat":
            raise UsageError(
                "head_start=pretrained needs head=difference, which is what pre-trained heads weigh",
                "Leave one of the two out.",
            )
        if self.trains == "head" and self.views == "pair":
            raise UsageError(
                "views=pair needs a protocol that trains the backbone: frozen features are shared"
                " between pairs",
                "Leave it out, or use --protocol finetune.",
            )

    def facts(self) -> dict[str, Any]:
        """Return every value, those of the augmentation and of the optimiser spelled out."""
        values = super().facts()
        values["augmentation"] = {
            "name": self.augmentation,
            **dataclasses.asdict(AUGMENTATIONS[self.augmentation]),
        }
        values["optimizer"] = {"name": self.optimizer, **OPTIMIZERS[self.optimizer]}
        return values

    def build_optimizer(self, weights: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser of some weights."""
        import torch

        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        build: Any = kinds[self.optimizer]
        optimizer: torch.optim.Optimizer = build(
            weights, lr=self.learning_rate, fused=True, **OPTIMIZERS[self.optimizer]
        )
        return optimizer

    def count_pairs(self, following: int) -> int:
        """Return the training pairs of an epoch.

        Args:
            following: How many they are where they follow the data: `Task.epoch_length` of the fold.
        """
        return following if self.pairs_per_epoch == "auto" else self.pairs_per_epoch

    def shared_view(self, epoch: int) -> int:
        """Return the number of the view that all images of an epoch show (both 1-based).

        Only where `views` isn't `pair`.
        """
        return 1 + (epoch - 1) % self.views if isinstance(self.views, int) else epoch

    def set_rate(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        """Give an optimiser the learning rate of an epoch (1-based)."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(epoch)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch (1-based).

        `none` keeps it, `cosine` lets it fall along half a wave that would reach 0 after the last epoch, and
        `halved` halves it for the second half of the epochs.
        """
        done = (epoch - 1) / self.epochs
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (0.5 if self.schedule == "halved" and done >= 0.5 else 1.0)


# Supplement, Tables C, D and E. "custom" is ours: Table C's augmentation at Table D's learning rate.
TABLES_C_TO_E: Mapping[Family, Mapping[str, Any]] = {
    "expression": {"learning_rate": 1.0e-5, "augmentation": "table-c"},
    "weight": {"learning_rate": 1.0e-4, "augmentation": "table-d"},
    "age": {"learning_rate": 4.6e-4, "augmentation": "table-e"},
    "custom": {"learning_rate": 1.0e-4, "augmentation": "table-c"},
}

SHARED: Mapping[str, Any] = {
    "batch_size": 16,
    "optimizer": "adam",
    "schedule": "none",
    "image_size": 224,
    "resize": "squash",
    "pairs_per_epoch": "auto",
    "loss": "l1",
    "head": "difference",
    "head_start": "scratch",
    "precision": "auto",
}

LINEAR = ProtocolCard(
    name="linear",
    run="comface_bench.engine.linear:run",
    trains="head",
    settings=Training,
    values={**SHARED, "views": "epoch", "epochs": 20},
    by_family=TABLES_C_TO_E,
    together=True,
    order=10,
    summary="frozen backbone, linear pair head, 20 epochs (Tables C–E)",
)

FINETUNE = ProtocolCard(
    name="finetune",
    run="comface_bench.engine.finetune:run",
    trains="backbone",
    settings=Training,
    values={**SHARED, "views": "pair", "epochs": 10},
    by_family=TABLES_C_TO_E,
    order=20,
    summary="backbone and head trained, 10 epochs (Tables C–E)",
)

QUICK = ProtocolCard(
    name="quick",
    run="comface_bench.engine.finetune:run",
    trains="backbone",
    settings=Training,
    values={
        **SHARED,
        "views": "pair",
        "epochs": 6,
        "image_size": 64,
        "pairs_per_epoch": 480,
        # At 64 pixels and in so few steps, crops cost more than they teach.
        "augmentation": "table-d",
        "learning_rate": 5.0e-4,
    },
    order=30,
    summary="fine-tuning at 64 pixels, a few short epochs: to try things",
)

CARDS = (LINEAR, FINETUNE, QUICK)
