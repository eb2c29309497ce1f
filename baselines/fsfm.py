"""FSFM: a masked autoencoder and self-distillation on faces whose regions a parser found (VGGFace2 files).

The authors name every file `checkpoint-400.pth`: the one meant lies in their folder `VF2_ViT-B`, and only
its statistics are built in. `checkpoint-te-400.pth` beside it is the teacher, which isn't for use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.mae import FEATURE, FEATURES, build_mae
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="fsfm",
    version=1,
    build=":build",
    backbone="ViT-B/16",
    feature=FEATURE,
    feature_dim=768,
    # The authors' own statistics of their faces, cropped 30 % wider than the detector's box.
    preprocess=Preprocess(mean=(0.5482, 0.4234, 0.3655), std=(0.2789, 0.2439, 0.2349), multiple=16),
    checkpoint=Checkpoint(
        file="checkpoint-400.pth",
        url="https://huggingface.co/Wolowolo/fsfm-3c/resolve/main/pretrained_models/VF2_ViT-B/checkpoint-400.pth",
    ),
    options={"feature": FEATURES, "checkpoint": ()},
    dropped_keys=("mask_token", "decoder_", "rep_decoder_", "projector.", "predictor."),
    trained_on=("VGGFace2",),
    group="Facial Representation Learning",
    summary="Masked autoencoder with masks that follow facial regions. Unverified: the keys of the published"
    " file, which are taken from the authors' code.",
    licence="CC BY-NC 4.0",
    source="Hugging Face Wolowolo/fsfm-3c, VF2_ViT-B/checkpoint-400.pth (the same name elsewhere is another"
    " file)",
    paper="Wang et al., CVPR 2025",
    training_scale="3M",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the online encoder, without decoders and projection."""
    assert weights is not None
    return build_mae(CARD, options["feature"], weights, seed)
