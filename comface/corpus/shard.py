"""Format of one shard: encoded images, the tar that holds them, and the index beside it.

The tar is plain and follows WebDataset's convention, record after record, so that writing can be resumed.
The members of record 12 are `00000012.000.jpg`, `00000012.001.jpg`, … and, last, `00000012.json` with its
facts, the α of each image among them; a record is whole once that is there and its digest holds. Names don't
depend on α, so that all records have the same fields. The index holds nothing that isn't in the tar, so it
can always be rebuilt.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.layout import Description, Layout
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

IMAGE_DTYPES: Final = {
    1: np.dtype([("alpha", "<f4"), ("offset", "<i8"), ("length", "<i4")]),
    2: np.dtype([("alpha", "<f4"), ("offset", "<i8"), ("length", "<i4"), ("crc32", "<u4")]),
}
"""One row an image, by the corpus's version: α; offset, length and CRC-32 of its bytes in the tar."""


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
        checksums: CRC-32 of each image's bytes.
        end: Offset of the record's end, a multiple of 512.
    """

    facts: dict[str, Any]
    offsets: tuple[int, ...]
    checksums: tuple[int, ...]
    end: int


def append_record(
    stream: BinaryIO, plan: RecordPlan, images: Sequence[bytes], description: Description
) -> StoredRecord:
    """Write a record at the stream's place, which is a multiple of 512.

    Args:
        stream: Open for writing in binary.
        plan: Number, identity, attribute and α of the images.
        images: Encoded images, one for each α.
        description: Of the corpus.
    """
    names, offsets, digest = _member_names(plan.number, plan.alphas, description), [], hashlib.sha256()
    at = stream.tell()
    for name, image in zip(names, images, strict=True):
        offsets.append(at + BLOCK)
        at = _append_member(stream, name, image, at)
        digest.update(image)
    facts = {
        "record": plan.number,
        "identity": plan.identity,
        "attribute": plan.attribute,
        "alphas": list(plan.alphas),
        "lengths": [len(image) for image in images],
        "sha256": digest.hexdigest(),
        **({"corpus": description.key} if description.version > 1 else {}),
    }
    at = _append_member(stream, f"{plan.number:08d}.json", json.dumps(facts).encode(), at)
    return StoredRecord(facts, tuple(offsets), tuple(map(zlib.crc32, images)), at)


def write_end_of_tar(stream: BinaryIO) -> None:
    """Write a tar's end: zeros to a multiple of 10,240 bytes."""
    rest = -(stream.tell() + 2 * BLOCK) % tarfile.RECORDSIZE
    stream.write(bytes(2 * BLOCK + rest))


def _member_names(record: int, alphas: Sequence[float], description: Description) -> list[str]:
    """Return the names of a record's images in the tar, in which a dot ends the record's key."""
    if description.version == 1:  # m50 is −5.0, p03 is 0.3
        fields = [f"{'m' if alpha < 0 else 'p'}{abs(round(alpha * 10)):02d}" for alpha in alphas]
    else:
        fields = [f"{place:03d}" for place in range(len(alphas))]
    return [f"{record:08d}.{field}.{description.suffix}" for field in fields]


def scan_records(stream: BinaryIO, description: Description) -> tuple[list[StoredRecord], str | None]:
    """Read the records of a shard that may be cut short.

    Args:
        stream: Open for reading in binary.
        description: Of the corpus.

    Returns:
        The whole records before the first fault, and a message on that fault; None at a proper end.
    """
    found: list[StoredRecord] = []
    images: list[tuple[str, int, bytes]] = []
    at = 0
    while True:
        stream.seek(at)
        header = stream.read(BLOCK)
        if len(header) == BLOCK and not header.strip(b"\0"):
            return found, None if not images else "a record without its facts"
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except tarfile.HeaderError as error:
            return found, f"byte {at}: {error}"
        if not member.isreg() or member.size < 0:
            return found, f"byte {at}: {member.name} isn't a plain file"
        body = stream.read(member.size)
        if len(body) < member.size:
            return found, f"{member.name}: cut short"
        after = at + BLOCK + -(-member.size // BLOCK) * BLOCK
        if not member.name.endswith(".json"):
            images.append((member.name, at + BLOCK, body))
        else:
            try:
                facts = json.loads(body)
            except ValueError as error:
                return found, f"{member.name}: {error}"
            if message := _record_fault(facts, member.name, images, description):
                return found, f"{member.name}: {message}"
            offsets = tuple(offset for _, offset, _ in images)
            found.append(
                StoredRecord(facts, offsets, tuple(zlib.crc32(data) for _, _, data in images), after)
            )
            images = []
        at = after


_FACTS: Final = {
    "record": int,
    "identity": int,
    "attribute": str,
    "alphas": list,
    "lengths": list,
    "sha256": str,
}
"""Entries of a record's JSON member and their types."""


def _record_fault(
    facts: Any, name: str, images: Sequence[tuple[str, int, bytes]], description: Description
) -> str | None:
    """Return a message if a record's facts aren't whole, or aren't those of the images before them.

    Args:
        facts: What the JSON member holds.
        name: Of that member.
        images: Name, offset and bytes of each image.
        description: Of the corpus.
    """
    if not isinstance(facts, dict):
        return "not the facts of a record"
    if wrong := [key for key, kind in _FACTS.items() if type(facts.get(key)) is not kind]:
        return f"no {', '.join(wrong)}, or not as it is written"
    if name != f"{facts['record']:08d}.json":
        return f"these are the facts of record {facts['record']}"
    names = [image for image, _, _ in images]
    if twice := [image for place, image in enumerate(names) if image in names[:place]]:
        return f"{twice[0]} is there twice"
    try:
        wanted = _member_names(facts["record"], facts["alphas"], description)
    except TypeError:
        return "alphas aren't numbers"
    if names != wanted:
        return f"its images are {_listed(names)}, not {_listed(wanted)}"
    whole = facts["lengths"] == [len(data) for _, _, data in images]
    if not whole or facts["sha256"] != hashlib.sha256(b"".join(data for _, _, data in images)).hexdigest():
        return "the images aren't those of the record"
    return None


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} to {names[-1]} ({len(names)})" if names else "none"


def require_planned(stored: StoredRecord, plan: RecordPlan, description: Description, where: str) -> None:
    """Refuse a stored record that isn't the planned one.

    Args:
        stored: As read from a tar.
        plan: The record that belongs there.
        description: Of the corpus.
        where: File named in the message.

    Raises:
        DataFormatError: Another identity, attribute or α, or of another corpus.
    """
    facts = stored.facts
    if description.version > 1 and facts.get("corpus") != description.key:
        raise DataFormatError(
            f"{where}: record {facts['record']} was made for another corpus",
            "Remove this shard's files and generate it again.",
        )
    if (facts["record"], facts["identity"], facts["attribute"], tuple(facts["alphas"])) != tuple(plan):
        raise DataFormatError(
            f"{where}: record {facts['record']} isn't the one planned as number {plan.number}",
            "Remove this shard's files and generate it again.",
        )


def index_tables(
    stored: Sequence[StoredRecord], description: Description
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the rows of records and of images of one shard."""
    places = {name: index for index, name in enumerate(description.plan.attributes)}
    kind = IMAGE_DTYPES[description.version]
    records = np.zeros(len(stored), RECORD_DTYPE)
    images: list[tuple[float | int, ...]] = []
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
        rows = zip(facts["alphas"], one.offsets, facts["lengths"], one.checksums, strict=True)
        images += [values[: len(kind.names or ())] for values in rows]
    return records, np.array(images, kind)


def write_index(layout: Layout, shard: int, stored: Sequence[StoredRecord], description: Description) -> None:
    """Write a finished shard's index and, last, the file that marks it as done."""
    records, images = index_tables(stored, description)
    replace_file(layout.records(shard), npy_bytes(records))
    replace_file(layout.images(shard), npy_bytes(images))
    facts = {"shard": shard, "records": len(records), "images": len(images), **shard_digests(layout, shard)}
    if description.version > 1:
        facts["corpus"] = description.key
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
