"""Masked autoencoders on faces: their encoder, a ViT-B/16, out of files that also hold a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly, select_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.core.card import MethodCard

FEATURE = "class token after the last norm (cls); mean of the patches, normalised afterwards (mean)"
FEATURES = ("cls", "mean")
"""The authors' two feature taps; `cls` is theirs for a network that isn't fine-tuned."""

_FINE_TUNED = ("head.", "fc_norm.", "AU_head.", "ID_head.")


def build_mae(card: MethodCard, feature: str, weights: Path, seed: int) -> nn.Module:
    """Build the encoder of a masked autoencoder and load it strictly.

    Args:
        card: Says which keys of the file are the decoder's.
        feature: One of `FEATURES`.
        weights: The pre-trained file.
        seed: Of the random weights, none of which stays.

    Returns:
        From normalised images (N, 3, H, W), H and W in multiples of 16, to features (N, 768).

    Raises:
        WeightsFormatError: The file doesn't fit, or was fine-tuned for a task.
    """
    import timm
    import torch

    tensors = read_tensors(weights)
    _refuse_fine_tuned(card, tensors, weights)
    assert card.checkpoint is not None
    tensors = select_backbone(tensors, weights, card.checkpoint.prefixes, card.dropped_keys)
    pool = "token"
    if feature == "mean":
        # The authors put a fresh norm behind the mean and leave the pre-trained one out.
        pool = "avg"
        for leaf, value in (("weight", 1.0), ("bias", 0.0)):
            if (trained := tensors.pop(f"norm.{leaf}", None)) is not None:
                tensors[f"fc_norm.{leaf}"] = torch.full_like(trained, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = timm.create_model(
            "vit_base_patch16_224", num_classes=0, global_pool=pool, dynamic_img_size=True
        )
    load_strictly(encoder, tensors, weights)
    return encoder


def _refuse_fine_tuned(card: MethodCard, tensors: Mapping[str, Tensor], path: Path) -> None:
    found = [name for name in tensors if name.startswith(_FINE_TUNED)]
    if found:
        raise WeightsFormatError(
            f"{path.name} was fine-tuned for a task: it has {', '.join(found[:3])}",
            f"{card.name} is the pre-trained network. One that has seen labels of a task, DISFA's for"
            " instance, must not be compared on it.",
        )
