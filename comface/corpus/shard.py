"""Format of one shard: encoded images, the tar that holds them, and the index beside it.

The tar is plain and follows WebDataset's convention, record after record, so that writing can be resumed.
The members of record 12 are `00000012.m50.jpg` (α = −5.0), …, `00000012.p50.jpg` and, last,
`00000012.json` with its facts; a record is whole once that is there and its digest holds. The index holds
nothing that isn't in the tar, so it can always be rebuilt.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.layout import Layout
    from comface_bench.comface.corpus.plan import RecordPlan

BLOCK = tarfile.BLOCKSIZE

RECORD_DTYPE: Final = np.dtype(
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

IMAGE_DTYPE: Final = np.dtype([("alpha", "<f4"), ("offset", "<i8"), ("length", "<i4")])
"""One row an image: α, and offset and length of its bytes in the tar."""


def encode_image(image: NDArray[np.uint8], suffix: str, quality: int) -> bytes:
    """Encode an RGB image.

    α moves in small steps, so JPEG keeps colour at full resolution (4:4:4).

    Args:
        image: Shape (3, H, W).
        suffix: `jpg` or `png`.
        quality: Of JPEG, 1 to 100.
    """
    from PIL import Image

    stream, opened = io.BytesIO(), Image.fromarray(image.transpose(1, 2, 0))
    if suffix == "png":
        opened.save(stream, "PNG")
    else:
        opened.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def decode_image_bytes(data: bytes) -> NDArray[np.uint8]:
    """Decode an image to RGB, shape (3, H, W).

    Raises:
        UnreadableImageError: The bytes aren't a whole image.
    """
    from comface_bench.data.image_file import read_image

    image = read_image(data, formats=["JPEG", "PNG"])
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


class StoredRecord(NamedTuple):
    """One record as stored.

    Attributes:
        facts: The tar's JSON member: record, identity, attribute, alphas, lengths,
            sha256 of all its images together.
        offsets: Of each image's bytes in the tar.
        end: Offset of the record's end, a multiple of 512.
    """

    facts: dict[str, Any]
    offsets: tuple[int, ...]
    end: int


def append_record(stream: BinaryIO, plan: RecordPlan, images: Sequence[bytes], suffix: str) -> StoredRecord:
    """Write a record at the stream's place, which is a multiple of 512.

    Args:
        stream: Open for writing in binary.
        plan: Number, identity, attribute and α of the images.
        images: Encoded images, one for each α.
        suffix: File type of the images, such as `jpg`.
    """
    key, offsets, digest = f"{plan.number:08d}", [], hashlib.sha256()
    at = stream.tell()
    for alpha, image in zip(plan.alphas, images, strict=True):
        offsets.append(at + BLOCK)
        at = _append_member(stream, f"{key}.{alpha_name(alpha)}.{suffix}", image, at)
        digest.update(image)
    facts = {
        "record": plan.number,
        "identity": plan.identity,
        "attribute": plan.attribute,
        "alphas": list(plan.alphas),
        "lengths": [len(image) for image in images],
        "sha256": digest.hexdigest(),
    }
    at = _append_member(stream, f"{key}.json", json.dumps(facts).encode(), at)
    return StoredRecord(facts, tuple(offsets), at)


def write_end_of_tar(stream: BinaryIO) -> None:
    """Write a tar's end: zeros to a multiple of 10,240 bytes."""
    rest = -(stream.tell() + 2 * BLOCK) % tarfile.RECORDSIZE
    stream.write(bytes(2 * BLOCK + rest))


def alpha_name(alpha: float) -> str:
    """Return α as it stands in a member's name, in which a dot would end the key: m50 is −5.0, p03 is 0.3."""
    tenths = round(alpha * 10)
    return f"{'m' if tenths < 0 else 'p'}{abs(tenths):02d}"


def scan_records(stream: BinaryIO) -> tuple[list[StoredRecord], str | None]:
    """Read the records of a shard that may be cut short.

    Args:
        stream: Open for reading in binary.

    Returns:
        The whole records before the first fault, and a message on that fault; None at a proper end.
    """
    found: list[StoredRecord] = []
    offsets: list[int] = []
    lengths: list[int] = []
    at, digest = 0, hashlib.sha256()
    while True:
        stream.seek(at)
        header = stream.read(BLOCK)
        if len(header) == BLOCK and not header.strip(b"\0"):
            return found, None if not offsets else "a record without its facts"
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except tarfile.HeaderError as error:
            return found, f"byte {at}: {error}"
        body = stream.read(member.size)
        after = at + BLOCK + -(-member.size // BLOCK) * BLOCK
        if not member.name.endswith(".json"):
            offsets.append(at + BLOCK)
            lengths.append(member.size)
            digest.update(body)
        else:
            try:
                facts = json.loads(body)
                whole = facts["lengths"] == lengths and len(body) == member.size
                whole = whole and facts["sha256"] == digest.hexdigest()
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                return found, f"{member.name}: the images aren't those of the record"
            found.append(StoredRecord(facts, tuple(offsets), after))
            offsets, lengths, digest = [], [], hashlib.sha256()
        at = after


def require_planned(stored: StoredRecord, plan: RecordPlan, where: str) -> None:
    """Refuse a stored record that isn't the planned one.

    Args:
        stored: As read from a tar.
        plan: The record that belongs there.
        where: File named in the message.

    Raises:
        DataFormatError: Another identity, attribute or α.
    """
    facts = stored.facts
    if (facts["record"], facts["identity"], facts["attribute"], tuple(facts["alphas"])) != tuple(plan):
        raise DataFormatError(
            f"{where}: record {facts['record']} isn't the one planned as number {plan.number}",
            "Remove this shard's files and generate it again.",
        )


def index_tables(
    stored: Sequence[StoredRecord], attributes: Sequence[str]
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the rows of records and of images of one shard."""
    places = {name: index for index, name in enumerate(attributes)}
    records = np.zeros(len(stored), RECORD_DTYPE)
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
    return records, np.array(images, IMAGE_DTYPE)


def write_index(
    layout: Layout, shard: int, stored: Sequence[StoredRecord], attributes: Sequence[str]
) -> None:
    """Write a finished shard's index and, last, the file that marks it as done."""
    records, images = index_tables(stored, attributes)
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


def _append_member(stream: BinaryIO, name: str, data: bytes, at: int) -> int:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    padding = -len(data) % BLOCK
    stream.write(member.tobuf(tarfile.USTAR_FORMAT) + data + bytes(padding))
    return at + BLOCK + len(data) + padding
