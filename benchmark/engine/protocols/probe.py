"""The protocol `probe`: a frozen backbone and the exact ridge solution over all within-subject pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from comface_bench.core.protocol import LARGEST_IMAGE, Protocol, ProtocolCard


@dataclass(frozen=True, kw_only=True)
class Probe(Protocol):
    """A resolved protocol of the closed form; it has no optimiser, no epochs and no random number.

    Attributes:
        image_size: Side of the square images in pixels.
        resize: `squash` fits the whole image into the square, `crop` its centre.
        scale: `shared` leaves features as the backbone gives them, `spread` divides each by its spread within
            the training people, features that hardly vary by a floor.
        mirror: What the features of the mirrored image are used for: `none`, the `mean` of both, or more
            features `beside` the image's own.
        precision: Of the backbone; `auto` is float32. The solution is computed in float64 in any case.
    """

    image_size: int = field(metadata={"least": 16, "most": LARGEST_IMAGE})
    resize: Literal["squash", "crop"]
    scale: Literal["shared", "spread"]
    mirror: Literal["none", "mean", "beside"]
    precision: Literal["auto", "float32", "bfloat16"]


CARD = ProtocolCard(
    name="probe",
    run="comface_bench.engine.probe:run",
    trains="head",
    settings=Probe,
    values={
        "image_size": 224,
        "resize": "squash",
        "scale": "shared",
        "mirror": "none",
        "precision": "auto",
    },
    together=True,
    order=5,
    summary="frozen backbone, exact ridge over all training pairs; seconds",
)
