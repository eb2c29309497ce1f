"""AdaFace: face recognition with a margin that depends on quality, in its two releases.

The authors' first release wants BGR images, their later one in CVLface wants RGB. Their files differ by
what stands before the keys, so that one can't be taken for the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.iresnet import DEPTHS, PREPROCESS, build_iresnet, rename_adaface
from comface_bench.core.card import Checkpoint, MethodCard
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly, select_backbone

if TYPE_CHECKING:
    from torch import nn

_PREFIXES = {"adaface": ("model.",), "cvlface": ("model.net.", "net.")}
_CALLBACKS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
)
"""What the trainer's files of those years name beside the weights."""
_SIGN = "input_layer.0.weight"

CARD = MethodCard(
    name="adaface",
    version=1,
    build=":build",
    backbone="iResNet, AdaFace's variant",
    feature="embedding after the last norm, not scaled to length 1",
    feature_dim=512,
    # Depends on the release: RGB or BGR, in [-1, 1], 112 pixels.
    preprocess=None,
    checkpoint=Checkpoint(
        file="adaface_ir50_ms1mv2.ckpt",
        prefixes=_PREFIXES["adaface"],
        url="https://drive.google.com/file/d/1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI/view",
    ),
    options={"release": tuple(_PREFIXES), "backbone": tuple(DEPTHS), "checkpoint": ()},
    dropped_keys=("head.",),
    trained_on=("MS1MV2", "WebFace4M"),
    group="Facial Representation Learning",
    summary="Face recognition; 112 pixels, BGR in the first release and RGB in CVLface's, for whose"
    " model.safetensors use release=cvlface with -o checkpoint=FILE. The authors scale the embedding to"
    " length 1 and keep its length beside it; here it has both. Unverified: what else a"
    " Lightning file carries.",
    licence="MIT",
    source="mk-minchul/AdaFace; Hugging Face minchul/cvlface_adaface_ir50_webface4m",
    paper="Kim, Jain and Liu, CVPR 2022",
    training_scale="5.8M (MS1MV2)",
    training_source="Face images+Identities",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights; the release says the order of channels."""
    assert weights is not None
    tensors = read_tensors(weights, _CALLBACKS)
    release, name = options["release"], options["backbone"]
    told = next(
        (one for one, marks in _PREFIXES.items() if any(mark + _SIGN in tensors for mark in marks)), None
    )
    if told not in (None, release):
        raise WeightsFormatError(
            f"{weights.name} is of the release {told}, whose channels have the other order",
            f"Use it as --method adaface -o release={told}",
        )
    tensors = select_backbone(tensors, weights, _PREFIXES[release], CARD.dropped_keys)
    network = build_iresnet(name, seed, adaface=True)
    load_strictly(network, rename_adaface(tensors, name, weights), weights)
    preprocess = dataclasses.replace(PREPROCESS, channels="BGR" if release == "adaface" else "RGB")
    network.preprocess = preprocess  # type: ignore[assignment]
    return network
