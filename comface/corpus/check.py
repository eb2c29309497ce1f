"""Integrity of a corpus: every file, row and digest and, on demand, every image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.score_store import quality_faults
from comface_bench.comface.corpus.shard import (
    decode_image_bytes,
    index_tables,
    npy_bytes,
    require_planned,
    scan_records,
    shard_digests,
)
from comface_bench.core.errors import DataFormatError
from comface_bench.data.image_file import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from comface_bench.comface.corpus.layout import Description
    from comface_bench.comface.corpus.shard import StoredRecord


class CorpusFault(NamedTuple):
    """A fault of a corpus.

    Attributes:
        path: The file.
        message: Description.
        hint: Command or advice that mends it.
    """

    path: Path
    message: str
    hint: str


def check_corpus(
    root: Path, *, pictures: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[CorpusFault]:
    """Check a corpus against its own plan and digests.

    Args:
        root: Its folder.
        pictures: Decode every image too.
        progress: Called with (shards checked, shards in all).

    Returns:
        All faults; none if the corpus is whole.

    Raises:
        DataMissingError: There is no corpus.
        DataFormatError: `corpus.json` isn't one.
    """
    layout = Layout(root)
    description = layout.read()
    faults: list[CorpusFault] = []
    known = {layout.description, layout.begin_lock, layout.journal, layout.shards}
    known |= {layout.quality, layout.quality_report}
    sizes = _Sizes(description.generator["resolution"])
    for shard in range(description.shards):
        known |= {*layout.files(shard), layout.partial(shard), layout.lock(shard)}
        if missing := layout.missing(shard):
            faults.append(CorpusFault(missing[0], "missing", f"comface-bench synth corpus --out {root}"))
        else:
            faults += _check_shard(layout, description, shard, sizes if pictures else None)
        if progress:
            progress(shard + 1, description.shards)
    again = f"comface-bench synth quality {root}"
    faults += [CorpusFault(path, message, again) for path, message in quality_faults(layout)]
    strangers = sorted(path for path in layout.root.rglob("*") if path not in known)
    return (
        faults
        + sizes.faults(layout)
        + [CorpusFault(path, "not a file of the corpus", "Move it away.") for path in strangers]
    )


def _check_shard(
    layout: Layout, description: Description, shard: int, sizes: _Sizes | None
) -> list[CorpusFault]:
    tar, done, again = layout.tar(shard), layout.done(shard), layout.remake_command(shard)
    try:
        facts = layout.read_done(shard, description)
    except DataFormatError as error:
        return [CorpusFault(done, error.message.removeprefix(f"{done}: "), error.hint)]
    digests = shard_digests(layout, shard).items()
    faults = [
        CorpusFault(done, f"{name} isn't that of the file", again)
        for name, digest in digests
        if facts.get(name) != digest
    ]
    with tar.open("rb") as stream:
        stored, message = scan_records(stream, description)
    if message:
        faults.append(CorpusFault(tar, message, again))
    if message := _unplanned(stored, description, shard, tar):
        return [*faults, CorpusFault(tar, message, again)]
    faults += _check_index(layout, description, shard, stored, facts)
    if sizes is not None:
        faults += _check_images(tar, stored, sizes, again)
    return faults


def _unplanned(stored: list[StoredRecord], description: Description, shard: int, tar: Path) -> str | None:
    """Return a message if the records of a shard aren't the planned ones."""
    size = description.records_per_shard
    planned = list(description.plan.stretch(shard * size, size))
    if len(stored) != len(planned):
        return f"{len(stored)} records, not {len(planned)}"
    try:
        for one, wanted in zip(stored, planned, strict=True):
            require_planned(one, wanted, description, str(tar))
    except DataFormatError as error:
        return error.message
    return None


def _check_index(
    layout: Layout,
    description: Description,
    shard: int,
    stored: list[StoredRecord],
    facts: dict[str, Any],
) -> list[CorpusFault]:
    again = layout.remake_command(shard)
    records, images = index_tables(stored, description)
    faults = [
        CorpusFault(path, "other rows than the tar has", again)
        for path, table in ((layout.records(shard), records), (layout.images(shard), images))
        if path.read_bytes() != npy_bytes(table)
    ]
    if facts.get("records") != len(records) or facts.get("images") != len(images):
        faults.append(CorpusFault(layout.done(shard), "counts other records or images", again))
    return faults


class _Sizes:
    """Counts images of another size than the description's, so that all of a corpus make one fault.

    Args:
        side: Height and width in pixels.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._found: dict[tuple[int, ...], tuple[int, Path, str]] = {}

    def fits(self, shape: tuple[int, ...], tar: Path, place: str) -> bool:
        if shape == (self._side, self._side):
            return True
        count, first_tar, first_place = self._found.get(shape, (0, tar, place))
        self._found[shape] = (count + 1, first_tar, first_place)
        return False

    def faults(self, layout: Layout) -> list[CorpusFault]:
        return [
            CorpusFault(
                tar,
                f"{place}: {shape[0]} × {shape[1]} pixels, not {self._side}"
                + (f"; so are {count - 1} more images of the corpus" if count > 1 else ""),
                f"Is the resolution in {layout.description} what it was? Else generate the corpus again.",
            )
            for shape, (count, tar, place) in self._found.items()
        ]


def _check_images(tar: Path, stored: list[StoredRecord], sizes: _Sizes, again: str) -> list[CorpusFault]:
    faults = []
    with tar.open("rb") as stream:
        for one in stored:
            for alpha, offset, length in zip(
                one.facts["alphas"], one.offsets, one.facts["lengths"], strict=True
            ):
                stream.seek(offset)
                place = f"record {one.facts['record']}, α = {alpha}"
                try:
                    image = decode_image_bytes(stream.read(length))
                except UnreadableImageError as error:
                    faults.append(CorpusFault(tar, f"{place}: {error.fault}", again))
                    continue
                if sizes.fits(image.shape[1:], tar, place) and np.ptp(image) == 0:
                    faults.append(CorpusFault(tar, f"{place}: a single colour", again))
    return faults
