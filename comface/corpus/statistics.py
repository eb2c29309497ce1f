"""Statistics of a corpus by attribute: counts, brightness, change of the images with α."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.corpus.read import Corpus


@dataclasses.dataclass(frozen=True)
class AttributeStatistics:
    """Statistics of one attribute.

    Attributes:
        attribute: Name.
        records, images: Counts.
        pairs: Disjoint pairs of an epoch.
        kilobytes: Mean size of an image as stored, of those sampled.
        brightness: Mean grey level, 0 to 255, of those sampled.
        change: Mean absolute change of a pixel, in grey levels, from the lowest to the highest α of a record.
        near: The same between the two images nearest to each other in the middle of the record.
    """

    attribute: str
    records: int
    images: int
    pairs: int
    kilobytes: float
    brightness: float
    change: float
    near: float


def describe_corpus(corpus: Corpus, sample: int = 50) -> list[AttributeStatistics]:
    """Describe each attribute.

    Args:
        corpus: Opened for reading.
        sample: Number of records of each attribute whose images are read, evenly spread; counts are of all.
    """
    plan = corpus.description.plan
    found = []
    for place, name in enumerate(plan.attributes):
        numbers = np.flatnonzero(corpus.attributes == place)
        chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(sample, len(numbers))).astype(int))]
        rows = np.array([_measure_record(corpus, int(number)) for number in chosen])
        kilobytes, brightness, change, near = (float(value) for value in rows.mean(axis=0))
        found.append(
            AttributeStatistics(
                attribute=name,
                records=len(numbers),
                images=len(numbers) * plan.alphas,
                pairs=len(numbers) * (plan.alphas // 2),
                kilobytes=kilobytes,
                brightness=brightness,
                change=change,
                near=near,
            )
        )
    return found


def _measure_record(corpus: Corpus, number: int) -> tuple[float, float, float, float]:
    count = len(corpus.record(number).alphas)
    middle = (count - 1) // 2
    low, high, one, other = (
        corpus.image(number, index).astype(np.float64) for index in (0, count - 1, middle, middle + 1)
    )
    size = len(corpus.read(number, middle)) / 1000
    return size, float(one.mean()), float(np.abs(high - low).mean()), float(np.abs(other - one).mean())
