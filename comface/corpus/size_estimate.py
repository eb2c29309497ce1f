"""Size and progress of a corpus: counts, bytes so far, bytes and free space for the rest. Reads only."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any, Final

from comface_bench.comface.corpus.generate import shard_images
from comface_bench.comface.corpus.shard import BLOCK, encode_image

if TYPE_CHECKING:
    from comface_bench.comface.corpus.layout import Description, Layout
    from comface_bench.comface.synthesis.generator import Generator

_SAMPLE = 6  # images; their sizes differ by a tenth or so, and each may take seconds
_JPEG: Final = ((90, 0.26), (95, 0.41), (100, 0.68))
"""Bytes a pixel up to each quality, of photographs of 256 pixels."""
_PNG = 1.7
_ROW = 20  # of an image, in the index


@dataclasses.dataclass(frozen=True)
class CorpusProgress:
    """The finished part of a corpus.

    Attributes:
        shards, images, bytes: Of finished shards, with their images as tar members.
    """

    shards: int
    images: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class SizeEstimate:
    """Expected size of a corpus.

    Attributes:
        generator: Its name.
        attributes: Names.
        records, images, shards: Counts of the whole.
        pairs: Disjoint pairs of an epoch.
        images_done: Images of finished shards.
        image_bytes: Bytes of one image, its place in the tar and the index included.
        measured_on: Source of that number.
        bytes: Of the whole.
        bytes_left: Of the unfinished part.
        bytes_free: In the file system of the corpus.
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
        """True if there is room for the unfinished part."""
        return self.bytes_left <= self.bytes_free


def measure_progress(layout: Layout, description: Description) -> CorpusProgress:
    """Measure the finished shards of a corpus; zeros where none has been begun."""
    done = [shard for shard in range(description.shards) if not layout.missing(shard)]
    images = sum(shard_images(description, shard) for shard in done)
    return CorpusProgress(len(done), images, sum(layout.tar(shard).stat().st_size for shard in done))


def corpus_status(layout: Layout, description: Description) -> dict[str, Any]:
    """Return a corpus's facts and progress, JSON-ready."""
    done = measure_progress(layout, description)
    return {
        "folder": str(layout.root),
        **_totals(description),
        "shards_done": done.shards,
        "images_done": done.images,
        "bytes": done.bytes,
    }


def estimate_size(layout: Layout, description: Description, generator: Generator | None) -> SizeEstimate:
    """Estimate the bytes of a corpus.

    Args:
        layout: Its folder, begun or not.
        description: Its contents; of its generator's facts, name and resolution are enough.
        generator: Renders a sample where no shard is finished; with None a figure by resolution is taken.
    """
    images, done = description.plan.images, measure_progress(layout, description)
    if done.images:
        each, source = done.bytes / done.images + _ROW, "the shards that are done"
    elif generator is not None:
        each, source = _bytes_of_sample(description, generator)
    else:
        each, source = _bytes_by_resolution(description)
    return SizeEstimate(
        **_totals(description),
        images_done=done.images,
        image_bytes=round(each),
        measured_on=source,
        bytes=round(each * images),
        bytes_left=round(each * (images - done.images)),
        bytes_free=_free_space(layout),
    )


def _totals(description: Description) -> dict[str, Any]:
    plan = description.plan
    return {
        "generator": str(description.generator["name"]),
        "attributes": plan.attributes,
        "records": plan.records,
        "images": plan.images,
        "pairs": plan.pairs,
        "shards": description.shards,
    }


def _free_space(layout: Layout) -> int:
    folder = layout.root.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _bytes_of_sample(description: Description, generator: Generator) -> tuple[float, str]:
    plan, sizes = description.plan, []
    for number in range(min(_SAMPLE, plan.records)):
        record = plan.record(number)
        (identity,) = generator.identities(plan.seed, 1, first=record.identity)
        alpha = record.alphas[number * (len(record.alphas) - 1) // (_SAMPLE - 1)]
        (image,) = generator.render(identity, record.attribute, [alpha])
        sizes.append(len(encode_image(image, description.suffix, description.quality)))
    return _in_tar(description, sum(sizes) / len(sizes)), f"{len(sizes)} images made as a sample"


def _bytes_by_resolution(description: Description) -> tuple[float, str]:
    side, quality = int(description.generator["resolution"]), description.quality
    if description.suffix == "png":
        share, form = _PNG, "PNG"
    else:
        share, form = next((s, f"JPEG of quality {q}") for q, s in _JPEG if quality <= q)
    return _in_tar(description, share * side**2), f"a figure: {share} bytes a pixel, as photographs in {form}"


def _in_tar(description: Description, size: float) -> float:
    """Add to an image's bytes its header, its padding, its index row, and its share of the record's facts."""
    count = description.plan.alphas
    facts = 2 * BLOCK + 16 * count
    return size + BLOCK + BLOCK / 2 + _ROW + facts / count
