"""Predictions beside a record: one row a test pair, as gzipped CSV.

Pairs and subjects are numbers of the manifest; no name and no path gets into the file. Rows have one
textual form (floats by `repr`, so they come back exact), which is what digests are taken over.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import re
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.core.errors import ResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from comface_bench.stats.predictions import Columns

HEADER = "pair_id,subject,fold,seed,y,yhat"
PREDICTIONS = ".predictions.csv.gz"
"""Ending of a predictions file's name."""
SIZE_LIMIT = 512 * 2**20
GZIP_HEADER = bytes.fromhex("1f8b08 00 00000000 02 ff")
"""Beginning of every file: deflate, nothing optional, no time, best compression, no system."""

_PAIR = re.compile(r"[0-9A-Za-z_.:-]{1,64}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")

FoldSeed = tuple[int, int]


def predictions_of(record: Path) -> Path:
    """Return where the predictions of a record's JSON are: beside it, `<method>.predictions.csv.gz`."""
    return record.with_name(record.name.removesuffix(".json") + PREDICTIONS)


class Prediction(NamedTuple):
    """One test pair's outcome.

    Attributes:
        pair_id: Identifies the pair within the task, such as `12-3-7`.
        subject: The subject's number in the manifest.
        fold: Index of the fold.
        seed: The user's seed.
        y: True change, in the target's unit.
        yhat: Estimated change, in the target's unit.
    """

    pair_id: str
    subject: int
    fold: int
    seed: int
    y: float
    yhat: float


def unit_text(rows: Iterable[Prediction]) -> str:
    """Write the rows of one unit as canonical lines, by subject and then in the order given.

    Raises:
        ResultError: A pair occurs twice or has an unsafe id, a number isn't finite, a subject, fold or seed
            is negative, or the rows aren't all of one fold and seed.
    """
    ordered = sorted(rows, key=lambda row: row.subject)
    if len({(row.fold, row.seed) for row in ordered}) > 1:
        raise ResultError("the rows of one unit have more than one fold or seed")
    if len({row.pair_id for row in ordered}) < len(ordered):
        raise ResultError("a pair occurs twice in one unit")
    for row in ordered:
        if not _PAIR.fullmatch(row.pair_id):
            raise ResultError(f"pair id {row.pair_id!r} isn't made of letters, digits and -_.:")
        if min(row.subject, row.fold, row.seed) < 0:
            raise ResultError(f"pair {row.pair_id} has a negative subject, fold or seed")
        if not (math.isfinite(row.y) and math.isfinite(row.yhat)):
            raise ResultError(f"pair {row.pair_id} has a prediction or target that isn't finite")
    return row_text(ordered)


def row_text(rows: Iterable[Prediction]) -> str:
    """Write rows as canonical lines in the order given, unchecked."""
    return "".join(
        f"{row.pair_id},{int(row.subject)},{int(row.fold)},{int(row.seed)},"
        f"{float(row.y)!r},{float(row.yhat)!r}\n"
        for row in rows
    )


def digest_rows(rows: Iterable[Prediction]) -> str:
    """Return the SHA-256 of one unit's canonical lines, 64 hexadecimal digits."""
    return digest_text(unit_text(rows))


def digest_text(text: str) -> str:
    """Return the SHA-256 of canonical lines."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def encode(texts: Mapping[FoldSeed, str]) -> bytes:
    """Pack units, keyed by (fold, seed), into a file's bytes: the same bytes for the same rows."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(f"{HEADER}\n".encode())
        for place in sorted(texts, key=lambda place: place[::-1]):
            stream.write(texts[place].encode("ascii"))
    return buffer.getvalue()


def read_texts(path: Path, limit: int = SIZE_LIMIT) -> dict[FoldSeed, str]:
    """Read a predictions file as canonical lines per (fold, seed), numbers unparsed.

    Raises:
        ResultError: The file isn't gzip or is cut short, unpacks to more than `limit` bytes, lacks the
            header, or a line isn't six columns of a (fold, seed).
    """
    units: dict[tuple[str, str], list[str]] = {}
    for number, line in enumerate(_lines(path, limit), start=2):
        fields = line.split(",")
        if len(fields) != 6:
            raise ResultError(f"{path}:{number}: {len(fields)} columns, not 6")
        place = (fields[2], fields[3])
        if place not in units:
            if not all(map(_WHOLE.fullmatch, place)):
                raise ResultError(f"{path}:{number}: fold or seed isn't a whole number")
            units[place] = []
        units[place].append(line)
    return {(int(fold), int(seed)): "\n".join(unit) + "\n" for (fold, seed), unit in units.items()}


def read_predictions(path: Path, limit: int = SIZE_LIMIT) -> list[Prediction]:
    """Read a predictions file, every number checked.

    Raises:
        ResultError: As `read_texts`; or a line holds an unsafe pair id, a number that isn't finite or isn't
            written in its shortest exact form, or stands out of order. Names file and line.
    """
    rows = [parse_line(line, f"{path}:{number}") for number, line in enumerate(_lines(path, limit), start=2)]
    for number, (before, row) in enumerate(pairwise(rows), start=3):
        if (before.seed, before.fold, before.subject) > (row.seed, row.fold, row.subject):
            raise ResultError(f"{path}:{number}: out of order; rows go by seed, fold and subject")
    return rows


def parse_line(line: str, where: str) -> Prediction:
    """Parse one canonical line; `where` names it in errors.

    Raises:
        ResultError: The line isn't canonical.
    """
    fields = line.split(",")
    if len(fields) != 6:
        raise ResultError(f"{where}: {len(fields)} columns, not 6")
    if not _PAIR.fullmatch(fields[0]):
        raise ResultError(f"{where}: {fields[0]!r} is no pair id")
    if not all(_WHOLE.fullmatch(field) for field in fields[1:4]):
        raise ResultError(f"{where}: subject, fold or seed isn't a whole number")
    numbers = []
    for field in fields[4:]:
        try:
            number = float(field)
        except ValueError:
            raise ResultError(f"{where}: {field!r} is no number") from None
        if not math.isfinite(number) or repr(number) != field:
            raise ResultError(f"{where}: {field!r} isn't a finite number in its shortest form")
        numbers.append(number)
    return Prediction(fields[0], int(fields[1]), int(fields[2]), int(fields[3]), numbers[0], numbers[1])


def parse_columns(text: str, where: str) -> Columns:
    """Parse one unit's canonical lines all at once; `where` names them in errors.

    Raises:
        ResultError: A line has other columns, or a number is none or isn't finite.
    """
    # Imported here: it needs numpy, and reading what is finished doesn't.
    from comface_bench.stats.predictions import Columns

    fields = text.rstrip("\n").replace("\n", ",").split(",")
    try:
        if len(fields) % 6:
            raise ValueError("not six columns everywhere")
        subjects = [int(field) for field in fields[1::6]]
        y, yhat = ([float(field) for field in fields[start::6]] for start in (4, 5))
        if not all(map(math.isfinite, y)) or not all(map(math.isfinite, yhat)):
            raise ValueError("a number isn't finite")
    except ValueError as error:
        raise ResultError(f"{where}: {error}") from None
    return Columns(fields[0::6], subjects, y, yhat)


def _lines(path: Path, limit: int) -> list[str]:
    try:
        with gzip.open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ResultError(f"{path}: not a whole gzip file ({error})") from None
    if len(data) > limit:
        raise ResultError(f"{path}: unpacks to more than {limit} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise ResultError(f"{path}: holds bytes outside ASCII") from None
    header, *lines = text.split("\n")
    if header != HEADER:
        raise ResultError(f"{path}:1: the header isn't {HEADER}")
    if not lines or lines.pop() != "":
        raise ResultError(f"{path}: the last line is cut short")
    return lines
