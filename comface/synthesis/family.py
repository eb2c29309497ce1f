"""What a kind of latent generator is, and what its network must offer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

    from comface_bench.comface.synthesis.editing import Editing
    from comface_bench.comface.synthesis.known_boundaries import BoundarySpec
    from comface_bench.comface.synthesis.pickles import Published


class LatentNetwork(Protocol):
    """A network that makes images of codes, ready for inference, on the CPU at first."""

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""

    @property
    def layers(self) -> int:
        """Number of layers that take a code."""

    @property
    def mean(self) -> Tensor:
        """Mean of w, (512,)."""

    @property
    def mapping(self) -> Callable[[Tensor], Tensor]:
        """From z to w that isn't truncated, both (N, 512)."""

    @property
    def synthesis(self) -> Callable[[Tensor], Tensor]:
        """From codes (N, layers, 512) to images (N, 3, R, R), about −1 to 1."""

    def to(self, device: torch.device) -> Self:
        """Move to a device."""


@dataclasses.dataclass(frozen=True)
class Family:
    """What one kind of generator is.

    Attributes:
        published: Its checkpoint; its name is the generator's.
        licence: Of the images.
        boundaries: The directions that are known.
        editing: Defaults.
        load: From tensors by name and the file that they come from to the network.
        facts: Further facts for the card.
    """

    published: Published
    licence: str
    boundaries: tuple[BoundarySpec, ...]
    editing: Editing
    load: Callable[[Mapping[str, Tensor], Path], LatentNetwork]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
