"""The generator `stylegan3`: NVIDIA's StyleGAN3-R (FFHQ at 1024 pixels), and loading its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from comface_bench.comface.synthesis.boundaries import STYLEGAN3_BOUNDARIES
from comface_bench.comface.synthesis.checkpoints import STYLEGAN3_CHECKPOINT
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.latent_generator import GeneratorFamily, LatentGenerator
from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.strict import load_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_TOLERANCE: Final = 1e-5
"""Largest difference of a stored filter from the design."""


def load_network(tensors: Mapping[str, Tensor], path: Path) -> StyleGan3Network:
    """Build a generator of the sizes that its tensors have, and load them.

    The filters that are stored are the ones that are used. The stored transform is whatever the last user
    left there, if anything, so it is not taken over: images aren't moved.

    Args:
        tensors: As `read_checkpoint` gives them, under NVIDIA's names.
        path: The file that they come from, for messages.

    Raises:
        WeightsFormatError: They are not those of a StyleGAN3, or not all; or its filters are others than
            those that its sizes ask for.
    """
    network = StyleGan3Network(StyleGan3Shape.of(tensors))
    load_strictly(network, {**tensors, "synthesis.input.transform": torch.eye(3)}, path)
    check_filters(network)
    return network


def check_filters(network: StyleGan3Network) -> None:
    """Make sure that a network's filters are those of the design.

    Raises:
        WeightsFormatError: One differs by more than 1e-5.
    """
    for layer in network.synthesis.stack:
        for name, design in layer.design_filters().items():
            difference = float((layer.get_buffer(name) - design).abs().max())
            # Not the other way round: a filter of NaNs is no good either.
            if not difference <= _TOLERANCE:
                raise WeightsFormatError(
                    f"{layer.plan.name}.{name} differs from the design of its layer by {difference:.1e}",
                    "The generator was trained with another schedule of layers than configuration R or T.",
                )


FAMILY: Final = GeneratorFamily(
    published=STYLEGAN3_CHECKPOINT,
    licence=(
        "NVIDIA Source Code License, research and evaluation only (images of NVIDIA's FFHQ weights);"
        " other weights: as their authors say"
    ),
    boundaries=STYLEGAN3_BOUNDARIES,
    editing=Editing(psi=0.7, truncated=16),
    load=load_network,
    facts={"transform": "identity"},
)
"""Truncation by 0.7 in all 16 codes, as where the directions come from."""


class StyleGan3(LatentGenerator):
    """NVIDIA's StyleGAN3-R; see `LatentGenerator` for its options."""

    family = FAMILY


def make(options: Mapping[str, str]) -> StyleGan3:
    """Make the generator from options as the command line has them; see `LatentGenerator.of`."""
    return StyleGan3.of(options)
