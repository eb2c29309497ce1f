"""What every generator of synthetic faces offers: identities, and each with one attribute moved by α."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ALPHAS = tuple(step / 10 for step in range(-50, 51))
"""The grid of the paper, −5.0 to 5.0 in steps of 0.1 (supplement, A.1)."""

PEOPLE: Final = "people"
"""Key of a card's `sources`: a digest that tells one checkpoint's people from another's, whatever form or
name its file has. Generators without a checkpoint have none: their people are their seed and number."""


def people_key(name: str, sources: Mapping[str, str], seed: int) -> str:
    """Name whom a generator draws from a seed: identities of one key and number are one person.

    Directions and versions of packages don't count: the same people stay held out with another attribute
    and after an update.

    Args:
        name: Of the generator.
        sources: Its card's, or `PEOPLE` alone of them.
        seed: Of the identities.
    """
    return "/".join([name, *([sources[PEOPLE]] if PEOPLE in sources else []), str(seed)])


@dataclasses.dataclass(frozen=True)
class GeneratorCard:
    """Facts of a generator, stored with each corpus.

    Attributes:
        name: Name on the command line, such as `anny`.
        resolution: Height and width of the images in pixels.
        attributes: Names of the attributes that can be moved.
        licence: Of the images.
        sources: SHA-256 of each file that the images depend on, by name; versions of packages likewise; and
            `PEOPLE`.
        options: Every option as resolved, JSON-ready; decides the images together with seed and identity.
    """

    name: str
    resolution: int
    attributes: tuple[str, ...]
    licence: str
    sources: Mapping[str, str]
    options: Mapping[str, Any]


class Generator(Protocol):
    """Renders one identity at several values of one attribute. Instances can be pickled."""

    @property
    def card(self) -> GeneratorCard:
        """Facts of this generator."""

    def identities(self, seed: int, count: int, first: int = 0) -> Sequence[Any]:
        """Draw identities; number i is the same whatever `first` and `count` are.

        Args:
            seed: Seed of the draw, 0 or more.
            count: How many.
            first: Number of the first one.

        Returns:
            Base codes, each picklable; of no meaning but to `render`.
        """

    def render(self, identity: Any, attribute: str, alphas: Sequence[float]) -> NDArray[np.uint8]:
        """Render an identity with one attribute moved, a pure function of the arguments and the card.

        Args:
            identity: One of `identities`.
            attribute: One of `card.attributes`.
            alphas: K values in [−5, 5]; 0 is the identity's base image, or the middle of an attribute that
                has a natural zero, such as an action unit.

        Returns:
            RGB images, shape (K, 3, H, W).

        Raises:
            UsageError: An unknown attribute, or a value out of range.
        """
