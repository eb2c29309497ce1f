"""Plan of a corpus: its records, and the pairs that training draws from them.

A record is one identity with one attribute at several α. Records go identity by identity, attributes
inside, so any leading part of a corpus has all attributes in equal shares, and number r is the same record
however many follow.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from comface_bench.comface.synthesis.generator import ALPHAS
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


_SEEDS, _IDENTITIES = 2**128, 2**63  # what a key of Philox and a column of an index hold


class RecordPlan(NamedTuple):
    """One record to come.

    Attributes:
        number: Place in the corpus, from 0.
        identity: Number of the identity in the generator's stream.
        attribute: Name of the attribute.
        alphas: Values of α, ascending.
    """

    number: int
    identity: int
    attribute: str
    alphas: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CorpusPlan:
    """Records of a corpus.

    Attributes:
        seed: Seed of identities and of the α that are drawn.
        attributes: Names, each with as many records.
        identities: Number of identities of each attribute.
        shared: All attributes have the same identities, as the paper's StyleGAN images do; else
            each has its own, as its StyleGAN3 images do.
        alphas: Number of images of each record: the whole grid, or fewer values drawn from it.
        zero: The grid holds α = 0. The paper drops it where identities are shared, since it would
            be the same image in each attribute.
        first: Number of the first identity.
    """

    seed: int
    attributes: tuple[str, ...]
    identities: int
    shared: bool = False
    alphas: int = len(ALPHAS)
    zero: bool = True
    first: int = 0

    def __post_init__(self) -> None:
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise UsageError("a corpus needs attributes, each named once")
        if min(self.seed, self.first) < 0 or self.identities < 1:
            raise UsageError("identities start at 1; the seed and the first identity at 0")
        if self.seed >= _SEEDS or self.first + self.records > _IDENTITIES:
            raise UsageError("the seed is less than 2^128, numbers of identities less than 2^63")
        if not 2 <= self.alphas <= len(self.grid):
            raise UsageError(f"a record has 2 to {len(self.grid)} images, not {self.alphas}")

    @property
    def grid(self) -> tuple[float, ...]:
        """The values of α to choose from, ascending."""
        return ALPHAS if self.zero else tuple(alpha for alpha in ALPHAS if alpha != 0)

    @property
    def records(self) -> int:
        """Number of records."""
        return self.identities * len(self.attributes)

    @property
    def images(self) -> int:
        """Number of images."""
        return self.records * self.alphas

    @property
    def pairs(self) -> int:
        """Number of disjoint pairs of an epoch."""
        return self.records * (self.alphas // 2)

    @property
    def training_images(self) -> int:
        """Number of images that an epoch of disjoint pairs shows: even in each record."""
        return 2 * self.pairs

    def record(self, number: int) -> RecordPlan:
        """Return record `number`, from 0."""
        place, which = divmod(number, len(self.attributes))
        identity = self.first + (place if self.shared else number)
        return RecordPlan(number, identity, self.attributes[which], self._alphas(number))

    def stretch(self, first: int, count: int) -> Iterator[RecordPlan]:
        """Yield `count` records from number `first`, fewer at the end."""
        for number in range(first, min(first + count, self.records)):
            yield self.record(number)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain facts."""
        return dataclasses.asdict(self) | {"attributes": list(self.attributes)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote.

        Raises:
            UsageError: A value is out of range.
            TypeError: A field is missing or unknown.
        """
        return cls(**{**facts, "attributes": tuple(facts["attributes"])})

    def _alphas(self, number: int) -> tuple[float, ...]:
        grid = self.grid
        if self.alphas == len(grid):
            return grid
        # One from each of as many equal stretches of the grid: few images still reach from end to end.
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[number, 0, 0, 1]))
        edges = np.linspace(0, len(grid), self.alphas + 1)
        low, high = np.ceil(edges[:-1]).astype(int), np.maximum(np.ceil(edges[1:]), np.ceil(edges[:-1]) + 1)
        chosen = low + np.floor(random.random(self.alphas) * (high - low)).astype(int)
        return tuple(grid[index] for index in chosen)


def paper_plans(celeba: tuple[str, ...]) -> dict[str, CorpusPlan]:
    """Return the supplement's two corpora (A.1): 15 million images of StyleGAN, 20 of StyleGAN3.

    Args:
        celeba: Names of StyleGAN3's 40 attributes.
    """
    return {
        "stylegan": CorpusPlan(0, ("weight", "age", "smile"), 50_000, shared=True, alphas=100, zero=False),
        "stylegan3": CorpusPlan(0, celeba, 5_000),
    }


def disjoint_pairs(
    alphas: Floats, random: np.random.Generator, span: tuple[float, float] = (0.0, 10.0)
) -> NDArray[np.intp]:
    """Draw pairs of images such that no image is in two of them (supplement, A.1).

    Images are shuffled and paired from the front; where a curriculum restricts the change, each image takes
    the first free one that keeps to it, so fewer pairs may come out.

    Args:
        alphas: α of each image, shape (K,).
        random: Source of the draw.
        span: Smallest and largest |α_y − α_x| of a pair.

    Returns:
        Indices of x and y, shape (P, 2), P up to K // 2; their order is random too.
    """
    order = random.permutation(len(alphas))
    if span[0] <= 0 and span[1] >= 10:
        return order[: len(order) // 2 * 2].reshape(-1, 2)
    low, high = span[0] - 1e-6, span[1] + 1e-6
    free = np.ones(len(order), np.bool_)
    values, pairs = np.asarray(alphas)[order], []
    for index in range(len(order)):
        if not free[index]:
            continue
        free[index] = False
        change = np.abs(values - values[index])
        fitting = np.flatnonzero(free & (change >= low) & (change <= high))
        if fitting.size:
            free[fitting[0]] = False
            pairs.append((order[index], order[fitting[0]]))
    return np.array(pairs, np.intp).reshape(-1, 2)
