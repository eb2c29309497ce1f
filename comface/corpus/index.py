"""A shard's index: rows of records and of images, as plain NumPy files read when a corpus is opened."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from comface_bench.core.digest import digest_file
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.layout import Layout
    from comface_bench.comface.corpus.shard import Stored

RECORD: Final = np.dtype(
    [
        ("record", "<i8"),
        ("identity", "<i8"),
        ("attribute", "<i4"),
        ("first", "<i8"),
        ("count", "<i4"),
        ("sha256", "V32"),
    ]
)
"""One row a record: number, identity, index of the attribute in the plan, first row and number of images in
the shard's table of images, and the SHA-256 of all of its images together."""

IMAGE: Final = np.dtype([("alpha", "<f4"), ("offset", "<i8"), ("length", "<i4")])
"""One row an image: α, and where its bytes are in the tar."""


def tabulate(
    stored: Sequence[Stored], attributes: Sequence[str]
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the rows of records and of images of one shard."""
    places = {name: index for index, name in enumerate(attributes)}
    records = np.zeros(len(stored), RECORD)
    images: list[tuple[float, int, int]] = []
    for row, one in enumerate(stored):
        facts = one.facts
        digest = np.void(bytes.fromhex(facts["sha256"]))
        place = places[facts["attribute"]]
        records[row] = (
            facts["record"],
            facts["identity"],
            place,
            len(images),
            len(facts["alphas"]),
            digest,
        )
        images += list(zip(facts["alphas"], one.offsets, facts["lengths"], strict=True))
    return records, np.array(images, IMAGE)


def write_index(layout: Layout, shard: int, stored: Sequence[Stored], attributes: Sequence[str]) -> None:
    """Write a finished shard's index and, last, the file that says it is done."""
    records, images = tabulate(stored, attributes)
    replace_file(layout.records(shard), npy_bytes(records))
    replace_file(layout.images(shard), npy_bytes(images))
    facts = {"shard": shard, "records": len(records), "images": len(images), **shard_digests(layout, shard)}
    replace_file(layout.done(shard), (json.dumps(facts, indent=1) + "\n").encode())


def shard_digests(layout: Layout, shard: int) -> dict[str, Any]:
    """Return the SHA-256 of a shard's three files."""
    return {
        "sha256": digest_file(layout.tar(shard)),
        "sha256_records": digest_file(layout.records(shard)),
        "sha256_images": digest_file(layout.images(shard)),
    }


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as the bytes of a NumPy file, without pickled objects."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
