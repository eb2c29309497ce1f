"""Plugin of comface-bench: the method my-method.

    comface-bench test method my-method --plugin my_method.py
    comface-bench run --method my-method --task synth-age --protocol quick --plugin my_method.py

As it stands this is a small network without pre-training. With weights of your own, give the card a
checkpoint, load it as the comment in `build` shows, and leave `drawn` out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="my-method",
    version=1,  # Raise it when anything below changes its meaning.
    build=":build",
    backbone="three convolutions",
    feature="average over the last map",
    feature_dim=64,
    preprocess=Preprocess(),  # RGB with ImageNet's mean and std; say here what your network wants.
    drawn=True,  # Its weights are drawn from the seed. A method with a checkpoint says nothing here.
    trained_on=(),  # Names of the data sets of its pre-training, so that overlaps are seen.
    supervision=(),  # What it was taught, such as "identity"; boards of age set apart who was taught "age".
    group="Other",
    summary="A small network, to be replaced.",
    licence="Say who may use the weights.",
    source="Name the repository.",
    paper="Name the publication.",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone: normalised images (N, 3, H, W) to features (N, 64)."""
    import torch
    from torch import nn

    del options, weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    # With checkpoint=Checkpoint(file="net.pth") and dropped_keys=("head.",) in the card:
    #     from comface_bench.weights.parts import load_backbone
    #     if weights is not None:
    #         load_backbone(network, weights, CARD, options)
    # before `network` is returned; without the file it is a place for other weights (pretrain --from).
    return network  # noqa: RET504 - a checkpoint is loaded in between
