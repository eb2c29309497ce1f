"""The protocol `patient-specific`: pre-training on some patients, models of each other patient's own days.

That is the earlier edema method which the supplement compares ComFace with (B.2, Table 3). Its loss, sizes
and rates aren't published there: what stands here is ours (docs/choices.md).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from comface_bench.core.card import AUGMENTATIONS
from comface_bench.core.protocol import LARGEST_IMAGE, Protocol, ProtocolCard
from comface_bench.engine.protocols.training import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class PatientSpecific(Protocol):
    """A resolved protocol of pre-training by contrast and of models of single patients.

    Attributes:
        days: Days of a patient that train the model which is tested on another day.
        epochs: Passes over the images of the patients who pre-train.
        batch_size: Images a step.
        learning_rate: Of Adam, kept to the end.
        temperature: Of the contrast's softmax.
        momentum: Share of its own parameters that the network of keys keeps in a step.
        queue: Keys of earlier steps that an image is compared with, too.
        weight_bandwidth: In kg: images of one state whose weights differ by so much count 0.61 times as much
            as images of one weight. `none` counts all images of a state the same.
        projection_dim: Length of queries and keys.
        image_size: Side of the square images in pixels.
        resize: `squash` fits the whole image into the square, `crop` its centre.
        augmentation: Name of the augmentation of pre-training (`AUGMENTATIONS`).
        precision: Of the network in pre-training and after it; models of patients are computed in float64.
    """

    days: int = field(metadata={"least": 1, "most": 10_000})
    epochs: int = field(metadata={"least": 0, "most": 100_000})
    batch_size: int = field(metadata={"least": 2, "most": 100_000})
    learning_rate: float = field(metadata={"between": (0, 10)})
    temperature: float = field(metadata={"between": (0, 100)})
    momentum: float = field(metadata={"between": (0, 1)})
    queue: int = field(metadata={"least": 0, "most": 10_000_000})
    weight_bandwidth: float | Literal["none"] = field(metadata={"between": (0, 10_000)})
    projection_dim: int = field(metadata={"least": 1, "most": 100_000})
    image_size: int = field(metadata={"least": 16, "most": LARGEST_IMAGE})
    resize: Literal["squash", "crop"]
    augmentation: str = field(metadata={"choices": tuple(AUGMENTATIONS)})
    precision: Literal["auto", "float32", "bfloat16"]

    def facts(self) -> dict[str, Any]:
        """Return every value, those of the augmentation and of the optimiser spelled out.

        The kind of split stands among them: a record says that who is tested has trained on other days.
        """
        return {**super().facts(), **self._spelled, "split_kind": CARD.split_kind}

    def pretraining_facts(self) -> dict[str, Any]:
        """Return the values that decide the pre-trained network: one network serves any number of days."""
        return {key: value for key, value in self.facts().items() if key not in ("name", "days")}

    @property
    def _spelled(self) -> dict[str, Any]:
        shown = dataclasses.asdict(AUGMENTATIONS[self.augmentation])
        return {
            "augmentation": {"name": self.augmentation, **shown},
            "optimizer": {"name": "adam", **OPTIMIZERS["adam"]},
        }


CARD = ProtocolCard(
    name="patient-specific",
    run="comface_bench.engine.patient_specific:run",
    trains="backbone",
    settings=PatientSpecific,
    values={
        "days": 3,
        "epochs": 40,
        "batch_size": 32,
        # Table D's, as is the augmentation.
        "learning_rate": 1.0e-4,
        "temperature": 0.1,
        "momentum": 0.99,
        "queue": 256,
        "weight_bandwidth": 20.0,
        "projection_dim": 128,
        "image_size": 224,
        "resize": "squash",
        "augmentation": "table-d",
        "precision": "auto",
    },
    split_kind="days",
    gives_models=False,
    task_options={"split": "patient-days", "pairs": "pre-post-same-day"},
    order=40,
    summary="contrast on some patients, then models of others' own days",
)
