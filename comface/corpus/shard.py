"""One shard: a plain tar in WebDataset's convention, record after record, that can be taken up again.

The members of record 12 are `00000012.m50.jpg` (α = −5.0), …, `00000012.p50.jpg` and, last,
`00000012.json` with its facts; a record is whole once that is there and its digest holds. All that an index
says stands in the tar, so an index can always be made again.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from comface_bench.core.errors import DataFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.comface.corpus.plan import RecordPlan

BLOCK = tarfile.BLOCKSIZE


class Stored(NamedTuple):
    """One record as stored.

    Attributes:
        plan: Its facts, as the tar's JSON member has them: record, identity, attribute, alphas, lengths,
            sha256 of all its images together.
        offsets: Where each image's bytes start in the tar.
        end: Where the record ends, a multiple of 512.
    """

    facts: dict[str, Any]
    offsets: tuple[int, ...]
    end: int


def append_record(stream: BinaryIO, plan: RecordPlan, images: Sequence[bytes], suffix: str) -> Stored:
    """Write a record at the stream's place, which is a multiple of 512.

    Args:
        stream: Open for writing in binary.
        plan: What the images are of.
        images: Encoded images, one for each α.
        suffix: File type of the images, such as `jpg`.
    """
    key, offsets, digest = f"{plan.number:08d}", [], hashlib.sha256()
    at = stream.tell()
    for alpha, image in zip(plan.alphas, images, strict=True):
        offsets.append(at + BLOCK)
        at = _append(stream, f"{key}.{alpha_name(alpha)}.{suffix}", image, at)
        digest.update(image)
    facts = {
        "record": plan.number,
        "identity": plan.identity,
        "attribute": plan.attribute,
        "alphas": list(plan.alphas),
        "lengths": [len(image) for image in images],
        "sha256": digest.hexdigest(),
    }
    at = _append(stream, f"{key}.json", json.dumps(facts).encode(), at)
    return Stored(facts, tuple(offsets), at)


def finish(stream: BinaryIO) -> None:
    """Write a tar's end: zeros to a multiple of 10,240 bytes."""
    rest = -(stream.tell() + 2 * BLOCK) % tarfile.RECORDSIZE
    stream.write(bytes(2 * BLOCK + rest))


def alpha_name(alpha: float) -> str:
    """Name a value of α in a member's name, where a dot would end the key: m50 is −5.0, p03 is 0.3."""
    tenths = round(alpha * 10)
    return f"{'m' if tenths < 0 else 'p'}{abs(tenths):02d}"


def scan(stream: BinaryIO, *, digests: bool = True) -> tuple[list[Stored], str | None]:
    """Read the records of a shard that may be cut short.

    Args:
        stream: Open for reading in binary.
        digests: Read the images too and hold them against each record's digest.

    Returns:
        The whole records before the first fault, and what that fault is; None at a proper end.
    """
    found: list[Stored] = []
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
        body = stream.read(member.size) if digests or member.name.endswith(".json") else b""
        after = at + BLOCK + -(-member.size // BLOCK) * BLOCK
        if not member.name.endswith(".json"):
            offsets.append(at + BLOCK)
            lengths.append(member.size)
            digest.update(body)
        else:
            try:
                facts = json.loads(body)
                whole = facts["lengths"] == lengths and len(body) == member.size
                whole = whole and (not digests or facts["sha256"] == digest.hexdigest())
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                return found, f"{member.name}: the images aren't those of the record"
            found.append(Stored(facts, tuple(offsets), after))
            offsets, lengths, digest = [], [], hashlib.sha256()
        at = after


def expect(stored: Stored, plan: RecordPlan, where: str) -> None:
    """Refuse a stored record that isn't the one planned.

    Raises:
        DataFormatError: Another identity, attribute or α.
    """
    facts = stored.facts
    if (facts["record"], facts["identity"], facts["attribute"], tuple(facts["alphas"])) != tuple(plan):
        raise DataFormatError(
            f"{where}: record {facts['record']} isn't the one planned as number {plan.number}",
            "Remove this shard's files and generate it again.",
        )


def _append(stream: BinaryIO, name: str, data: bytes, at: int) -> int:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    padding = -len(data) % BLOCK
    stream.write(member.tobuf(tarfile.USTAR_FORMAT) + data + bytes(padding))
    return at + BLOCK + len(data) + padding
