"""The generator `stylegan`: NVIDIA's StyleGAN of 2019, trained on FFHQ at 1024 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comface_bench.comface.synthesis import known_checkpoints
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.family import Family
from comface_bench.comface.synthesis.known_boundaries import STYLEGAN
from comface_bench.comface.synthesis.latent import LatentGenerator
from comface_bench.comface.synthesis.stylegan.keys import load_network

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILY: Final = Family(
    published=known_checkpoints.STYLEGAN,
    licence="CC BY-NC 4.0 (images of NVIDIA's FFHQ weights); other weights: as their authors say",
    boundaries=STYLEGAN,
    # Weight moves the first 8 layers only, as in the work that its direction comes from.
    editing=Editing(psi=0.7, truncated=8, layers={"weight": (0, 7), "weight-chubby": (0, 7)}),
    load=load_network,
    facts={"noise": "const"},
)
"""Truncation by 0.7 in the first 8 layers, which all sources of the directions use; noise as stored."""


class StyleGan(LatentGenerator):
    """NVIDIA's StyleGAN; see `LatentGenerator` for its options."""

    family = FAMILY


def make(options: Mapping[str, str]) -> StyleGan:
    """Make the generator from options as the command line has them; see `LatentGenerator.of`."""
    return StyleGan.of(options)
