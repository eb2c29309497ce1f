"""Generators of synthetic faces: the interface, the card that a corpus stores, and opening one by name."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from comface_bench.core.errors import ELSEWHERE, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

ALPHAS = tuple(step / 10 for step in range(-50, 51))
"""The grid of the paper, −5.0 to 5.0 in steps of 0.1 (supplement, A.1)."""

PEOPLE: Final = "people"
"""Key of a card's `sources`: a digest that tells one checkpoint's people from another's, whatever form or
name its file has. Generators without a checkpoint have none: their people are their seed and number."""


def people_key(name: str, sources: Mapping[str, str], seed: int) -> str:
    """Return the key of the people that a generator draws from a seed: one key and number are one person.

    Directions and versions of packages don't count: the same people stay held out with another attribute
    and after an update.

    Args:
        name: Name of the generator.
        sources: Its card's, or `PEOPLE` alone of them.
        seed: Seed of the identities.
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
            count: Number of identities.
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


_HERE = "comface_bench.comface.synthesis"

GENERATORS: Final = {
    "anny": f"{_HERE}.anny.generator",
    "stylegan": f"{_HERE}.stylegan.generator",
    "stylegan3": f"{_HERE}.stylegan3.generator",
}
"""Name → module with `make(options)`."""

PATH_OPTIONS: Final = ("checkpoint", "boundaries")
"""Options of generators that are paths; cards identify the files by digest."""

MACHINE_OPTIONS: Final = ("device", "batch")
"""Options that can change no more than the last bits of an image."""

RESUMABLE_OPTIONS: Final = (*PATH_OPTIONS, *MACHINE_OPTIONS)
"""Options that may change when a corpus is resumed."""


def open_generator(name: str, options: Mapping[str, str]) -> Generator:
    """Make a generator.

    Args:
        name: Key of `GENERATORS`.
        options: The generator's own options, as the command line has them.

    Raises:
        UnknownNameError: There is no such generator.
        UsageError: The generator doesn't take an option or a value.
        WeightsMissingError: It needs a checkpoint that isn't there.
        MissingExtraError: It needs a package that isn't installed.
    """
    if name not in GENERATORS:
        raise UnknownNameError(f"unknown generator {name!r}", f"One of {', '.join(GENERATORS)}.")
    generator: Generator = importlib.import_module(GENERATORS[name]).make(options)
    return generator


def with_absolute_paths(options: Mapping[str, str]) -> dict[str, str]:
    """Make the paths among a generator's options absolute, so that they hold in any folder."""
    return {
        key: str(Path(text).expanduser().absolute()) if key in PATH_OPTIONS else text
        for key, text in options.items()
    }


def without_paths(options: Mapping[str, str]) -> dict[str, str]:
    """Take the paths out of a generator's options, which others may read: they may name people."""
    return {key: ELSEWHERE if key in PATH_OPTIONS else text for key, text in options.items()}
