"""Moving a latent code along a direction, before or after its truncation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Self

import torch

from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from comface_bench.comface.synthesis.boundaries import Boundary

ORDERS: Final = ("truncate-edit", "edit-truncate")
"""Orders of truncation, which moves a code towards the mean, and edit, which adds α times the direction."""


@dataclasses.dataclass(frozen=True)
class Editing:
    """Truncation and edit of a code w, shape (D,), into a code for each layer, shape (L, D).

    The edit is ComFace's w + α·n: the code isn't moved to a set distance from the boundary first, so that
    α = 0 leaves it as it is.

    Attributes:
        psi: Strength of truncation: 0 gives the mean, 1 the code as it is.
        truncated: Number of layers that are truncated, from the first.
        order: One of `ORDERS`. An edit that is made before truncation shrinks with it in those layers.
        unit: Whether directions have length 1, or the length that they are stored at.
        layers: Attribute → first and last layer that its edit changes; attributes left out change all.
    """

    psi: float = 0.7
    truncated: int = 8
    order: str = ORDERS[0]
    unit: bool = True
    layers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise UsageError(f"order={self.order} isn't known", f"It is {' or '.join(ORDERS)}.")
        if not 0 <= self.psi <= 2 or self.truncated < 0:
            raise UsageError("psi is 0 to 2, and truncated 0 or more layers")

    def changed(self, texts: Mapping[str, str]) -> Self:
        """Return the same with some attributes replaced, as the command line has them.

        Args:
            texts: Attribute → text. `layers` is like `weight:0-7,age:0-17`, and what it leaves out stays.

        Raises:
            UsageError: A text isn't understood.
        """
        new: dict[str, object] = {}
        for key, text in texts.items():
            try:
                if key == "unit":
                    new[key] = {"yes": True, "no": False}[text]
                elif key == "layers":
                    new[key] = {**self.layers, **_parse_layers(text)}
                else:
                    new[key] = {"psi": float, "truncated": int, "order": str}[key](text)
            except (KeyError, ValueError):
                raise UsageError(f"-o {key}={text} isn't understood", _EXAMPLES.get(key, "")) from None
        return dataclasses.replace(self, **new)  # type: ignore[arg-type]

    def check_layers(self, count: int) -> None:
        """Make sure that a network of `count` layers has those that are edited.

        Raises:
            UsageError: One isn't there.
        """
        for attribute, (first, last) in self.layers.items():
            if not 0 <= first <= last < count:
                raise UsageError(
                    f"layers {first}-{last} of {attribute} aren't there: they go from 0 to {count - 1}"
                )

    def base(self, w: Tensor, mean: Tensor, count: int) -> Tensor:
        """Return the truncated code of each layer, shape (count, D), of w and the mean of w, both (D,)."""
        return mean + self._strengths(count, w) * (w - mean)

    def codes(
        self, w: Tensor, mean: Tensor, boundary: Boundary, alphas: Sequence[float], count: int
    ) -> Tensor:
        """Return the codes of one identity at several values of an attribute.

        Args:
            w: The identity's code, (D,), not truncated.
            mean: Mean of w, (D,).
            boundary: The attribute's direction.
            alphas: K values.
            count: L, layers of the network.

        Returns:
            Shape (K, L, D); exactly `base` where α is 0.
        """
        direction = torch.as_tensor(boundary.unit if self.unit else boundary.direction).to(w)
        first, last = self.layers.get(boundary.attribute, (0, count - 1))
        step = torch.zeros(count, 1).to(w)
        step[first : last + 1] = 1
        if self.order == "edit-truncate":
            step = step * self._strengths(count, w)
        moves = torch.tensor(alphas, dtype=torch.float64).to(w)
        return self.base(w, mean, count) + moves[:, None, None] * (step * direction)

    def _strengths(self, count: int, like: Tensor) -> Tensor:
        strengths = torch.ones(count, 1).to(like)
        strengths[: self.truncated] = self.psi
        return strengths


_EXAMPLES: Final = {
    "unit": "It is yes or no.",
    "layers": "Like this: -o layers=weight:0-7,age:0-17",
    "psi": "A number: -o psi=0.7",
    "truncated": "A number of layers: -o truncated=8",
}


def _parse_layers(text: str) -> dict[str, tuple[int, int]]:
    found = {}
    for part in text.split(","):
        attribute, colon, layers = part.rpartition(":")
        first, _, last = layers.partition("-")
        if not (attribute and colon):
            raise ValueError(part)
        found[attribute] = int(first), int(last or first)
    return found
