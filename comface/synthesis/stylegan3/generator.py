"""The generator `stylegan3`: NVIDIA's StyleGAN3-R, trained on FFHQ at 1024 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comface_bench.comface.synthesis import known_checkpoints
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.family import Family
from comface_bench.comface.synthesis.known_boundaries import STYLEGAN3
from comface_bench.comface.synthesis.latent import LatentGenerator
from comface_bench.comface.synthesis.stylegan3.keys import load_network

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILY: Final = Family(
    published=known_checkpoints.STYLEGAN3,
    licence=(
        "NVIDIA Source Code License, research and evaluation only (images of NVIDIA's FFHQ weights);"
        " other weights: as their authors say"
    ),
    boundaries=STYLEGAN3,
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
