"""The contract of a method, checked on its backbone as it is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comface_bench.contract.rules import RuleOutcome
from comface_bench.core.card import MethodCard
from comface_bench.core.registry import Registry
from comface_bench.engine.encoder import Encoder, load_method

_TOLERANCE = 1e-4
"""Largest difference, relative to the largest feature, that another batch size may make."""


def check_method_contract(
    name: str,
    registry: Registry[MethodCard],
    checkpoint: Path | None = None,
    image_size: int = 112,
) -> list[RuleOutcome]:
    """Check everything that the harness takes for granted of a method.

    Args:
        name: Name of the method, options included.
        registry: Where to look the name up.
        checkpoint: Weights file, instead of the one in the weights folder.
        image_size: Side of the test images in pixels.

    Raises:
        BenchError: The name or an option is wrong, the weights are missing or don't fit, or the network
            fails.
    """
    card = registry.get(name.partition("+")[0]).card

    def build(seed: int = 0) -> Encoder:
        return load_method(name, checkpoint=checkpoint, seed=seed, registry=registry)

    encoder, images = build(), draw_images(image_size)
    encoder.measure(image_size)  # A network that fails is named so, here as in a run.
    with torch.no_grad():
        features = encoder(images)
        again = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    scale = float(features.abs().max()) or 1.0
    difference = float((features - alone).abs().max()) / scale
    return [
        RuleOutcome(
            "features are numbers of the card's size",
            _wrong_shape(features, card),
            f"{features.shape[1]} features, {encoder.parameter_count():,} parameters",
        ),
        RuleOutcome("features differ between images", _collapsed(features)),
        RuleOutcome(
            "the same images give the same features", "" if torch.equal(features, again) else "they differ"
        ),
        RuleOutcome(
            "the batch size doesn't matter",
            "" if difference <= _TOLERANCE else f"features differ by {difference:.1g} of the largest",
            f"largest difference {difference:.1g}",
        ),
        RuleOutcome("encoding leaves the backbone as it is", _changes_itself(encoder, images)),
        RuleOutcome("gradients reach every trainable parameter", _dead_parameters(build(), images)),
        RuleOutcome(
            "grey images are taken", _refuses(encoder, images.mean(1, keepdim=True).expand_as(images))
        ),
        RuleOutcome(
            "images that aren't square are taken", _refuses(encoder, images[..., : image_size * 3 // 4])
        ),
        RuleOutcome("weights follow the seed as the card says", _wrong_draw(build, card, features, images)),
        RuleOutcome("fingerprint", detail=fingerprint(encoder)),
    ]


def draw_images(size: int) -> Tensor:
    """Draw three smooth RGB images that differ strongly.

    Args:
        size: Side in pixels.

    Returns:
        float32 (3, 3, size, size) in [0, 1].
    """
    axis = torch.linspace(0, 1, size)
    x, y = axis[None, :].expand(size, size), axis[:, None].expand(size, size)
    waves = [(x, y, 1 - x), (x * y, 1 - y, x), (torch.sin(9 * x) ** 2, torch.cos(7 * y) ** 2, x * (1 - y))]
    return torch.stack([torch.stack(channels) for channels in waves])


def fingerprint(encoder: Encoder) -> str:
    """Summarise a method's feature of one fixed image of 224 pixels, to compare machines and files.

    Returns:
        The feature's length, mean, standard deviation and first three values, to four digits.
    """
    with torch.no_grad():
        feature = encoder.eval()(draw_images(224)[2:])[0].double()
    first = ", ".join(f"{value:.4g}" for value in feature[:3].tolist())
    return f"{len(feature)} values, mean {feature.mean():.4g}, std {feature.std():.4g}, first {first}"


def _wrong_shape(features: Tensor, card: MethodCard) -> str:
    if not torch.isfinite(features).all():
        return "some aren't finite"
    if card.feature_dim is not None and card.feature_dim != features.shape[1]:
        return f"the card says {card.feature_dim}, but there are {features.shape[1]}"
    return ""


def _collapsed(features: Tensor) -> str:
    spread = float((features - features.mean(0)).abs().max())
    return "" if spread > 1e-6 * float(features.abs().max()) else "all images give the same"


def _changes_itself(encoder: Encoder, images: Tensor) -> str:
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.no_grad():
        encoder(images)
    changed = [key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])]
    return f"it changes {', '.join(changed[:3])} even in eval mode" if changed else ""


def _dead_parameters(encoder: Encoder, images: Tensor) -> str:
    encoder.train()
    features = encoder(images)
    # Squares, so that a symmetric head can't cancel a gradient.
    (features * features).sum().backward()
    trainable = {key: value for key, value in encoder.named_parameters() if value.requires_grad}
    if not trainable:
        return "no parameter is trainable"
    dead = [key for key, value in trainable.items() if value.grad is None]
    broken = [
        key
        for key, value in trainable.items()
        if value.grad is not None and not torch.isfinite(value.grad).all()
    ]
    if dead:
        return f"{len(dead)} get none: {', '.join(dead[:3])}; leave them out of the backbone"
    return f"{len(broken)} aren't finite: {', '.join(broken[:3])}" if broken else ""


def _refuses(encoder: Encoder, images: Tensor) -> str:
    try:
        with torch.no_grad():
            features = encoder(images)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if torch.isfinite(features).all() else "features aren't finite"


def _wrong_draw(build: Callable[[int], Encoder], card: MethodCard, features: Tensor, images: Tensor) -> str:
    def encode(seed: int) -> Any:
        with torch.no_grad():
            return build(seed)(images)

    if not torch.equal(encode(0), features):
        return "building it twice with one seed gives two networks"
    follows = not torch.equal(encode(1), features)
    if follows and not card.drawn:
        return "another seed gives another network; set drawn=True, or load weights for all of it"
    return (
        "the card says drawn, but another seed gives the same network" if card.drawn and not follows else ""
    )
