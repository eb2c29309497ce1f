"""How much there is of a corpus, and how much room the rest will take; nothing is written."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any, Final

from comface_bench.comface.corpus.encode import encode_image
from comface_bench.comface.corpus.generate import shard_images
from comface_bench.comface.corpus.shard import BLOCK

if TYPE_CHECKING:
    from comface_bench.comface.corpus.layout import Description, Layout
    from comface_bench.comface.synthesis.generator import Generator

_SAMPLE = 6  # images; they differ by a tenth or so, and each may take seconds
_JPEG: Final = ((90, 0.26), (95, 0.41), (100, 0.68))
"""Bytes a pixel up to each quality, of photographs of 256 pixels."""
_PNG = 1.7
_ROW = 16  # of an image, in the index


@dataclasses.dataclass(frozen=True)
class Extent:
    """A corpus so far.

    Attributes:
        shards, images, bytes: Of shards that are done, with their images as tar members.
    """

    shards: int
    images: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A corpus to come.

    Attributes:
        generator: Its name.
        attributes: Names.
        records, images, shards: Counts of the whole.
        pairs: Disjoint pairs that an epoch can show.
        images_done: Images of shards that are done.
        image_bytes: What one image takes, its place in the tar and the index included.
        measured_on: What that number comes from.
        bytes: Of the whole.
        bytes_left: Of what isn't done.
        bytes_free: In the file system where it goes.
    """

    generator: str
    attributes: tuple[str, ...]
    records: int
    images: int
    pairs: int
    shards: int
    images_done: int
    image_bytes: int
    measured_on: str
    bytes: int
    bytes_left: int
    bytes_free: int

    @property
    def fits(self) -> bool:
        """Whether there is room for what is left."""
        return self.bytes_left <= self.bytes_free


def extent(layout: Layout, description: Description) -> Extent:
    """Measure what is done of a corpus; of one that hasn't been begun, nothing."""
    done = [
        shard
        for shard in range(description.shards)
        if layout.done(shard).exists() and layout.tar(shard).exists()
    ]
    images = sum(shard_images(description, shard) for shard in done)
    return Extent(len(done), images, sum(layout.tar(shard).stat().st_size for shard in done))


def state(layout: Layout, description: Description) -> dict[str, Any]:
    """Return what a corpus is and how far it has come, as plain facts."""
    plan, done = description.plan, extent(layout, description)
    return {
        "folder": str(layout.root),
        "generator": description.generator["name"],
        "attributes": list(plan.attributes),
        "records": plan.records,
        "images": plan.images,
        "pairs": plan.training_images // 2,
        "shards": description.shards,
        "shards_done": done.shards,
        "images_done": done.images,
        "bytes": done.bytes,
    }


def forecast(layout: Layout, description: Description, generator: Generator | None) -> Forecast:
    """Say what a corpus will take.

    Args:
        layout: Where it goes, or has been begun.
        description: What it is to hold; of its generator's facts, name and resolution are enough.
        generator: Renders a sample where nothing is done yet; None takes a figure instead.
    """
    plan, done = description.plan, extent(layout, description)
    if done.images:
        each, source = done.bytes / done.images + _ROW, "the shards that are done"
    elif generator is not None:
        each, source = _sample(description, generator)
    else:
        each, source = _figure(description)
    there = layout.root.absolute()
    while not there.exists():
        there = there.parent
    return Forecast(
        generator=str(description.generator["name"]),
        attributes=plan.attributes,
        records=plan.records,
        images=plan.images,
        pairs=plan.training_images // 2,
        shards=description.shards,
        images_done=done.images,
        image_bytes=round(each),
        measured_on=source,
        bytes=round(each * plan.images),
        bytes_left=round(each * (plan.images - done.images)),
        bytes_free=shutil.disk_usage(there).free,
    )


def _sample(description: Description, generator: Generator) -> tuple[float, str]:
    plan, sizes = description.plan, []
    for number in range(min(_SAMPLE, plan.records)):
        record = plan.record(number)
        (identity,) = generator.identities(plan.seed, 1, first=record.identity)
        alpha = record.alphas[number * (len(record.alphas) - 1) // (_SAMPLE - 1)]
        (image,) = generator.render(identity, record.attribute, [alpha])
        sizes.append(len(encode_image(image, description.suffix, description.quality)))
    return _in_tar(description, sum(sizes) / len(sizes)), f"{len(sizes)} images made as a sample"


def _figure(description: Description) -> tuple[float, str]:
    side, quality = int(description.generator["resolution"]), description.quality
    if description.suffix == "png":
        share, form = _PNG, "PNG"
    else:
        share, form = next((s, f"JPEG of quality {q}") for q, s in _JPEG if quality <= q)
    return _in_tar(description, share * side**2), f"a figure: {share} bytes a pixel, as photographs in {form}"


def _in_tar(description: Description, size: float) -> float:
    """Add to an image's bytes its header, its filling, its row, and its share of the record's facts."""
    count = description.plan.alphas
    facts = 2 * BLOCK + 16 * count
    return size + BLOCK + BLOCK / 2 + _ROW + facts / count
