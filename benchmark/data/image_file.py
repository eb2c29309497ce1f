"""Image files: the one place where pictures are opened, and what can be wrong with one.

Only the formats listed here are tried. Left to itself, Pillow tries every format that it knows, whatever a
file is called, and hands PostScript to an outside program.

A file that can't be used is told by its first bytes: a page of a web server, a pointer of Git LFS and a HEIC
want different remedies.
"""

from __future__ import annotations

import importlib.util
import io
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from comface_bench.core.errors import DataFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = (
    *("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000"),
    *(["AVIF"] if importlib.util.find_spec("PIL.AvifImagePlugin") else []),
)
"""Formats that are read, by Pillow's names; none of them starts a program."""

MOST_PIXELS = 178_956_970
"""Pixels of the largest picture; Pillow refuses more, unless another library has told it not to."""


class UnreadableImageError(DataFormatError):
    """An image file that can't be used.

    Attributes:
        where: The file, or how else the image is called.
        fault: What is wrong, to be read after `where`: "is empty".
    """

    def __init__(self, where: object, fault: str, hint: str) -> None:
        super().__init__(f"{where} {fault}", hint)
        self.where = str(where)
        self.fault = fault


def read_image(source: Path | bytes, where: object = None, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Decode an image and turn it upright as its EXIF orientation says.

    Transparency is dropped, grey is repeated, CMYK and palettes are converted by Pillow. Of 16 bits a channel
    the upper 8 are kept. Grey of other ranges (12 or 32 bits, floating-point numbers) is scaled by the
    range that the file names, from black at 0 to white.

    Args:
        source: The file, or its bytes.
        where: What messages call it; the path by default.
        formats: Of `FORMATS`, those that are tried.

    Returns:
        The image, in mode RGB, 8 bits a channel.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableImageError: It is truncated, damaged, too large or no picture, or doesn't say which of its
            values is white.
    """
    with _opened(source, where, formats) as image:
        return _upright_rgb(image, _samples_of(image))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture that is at hand, by Pillow, as `read_image` returns that of a file.

    Args:
        image: Of 8 bits a channel, in any mode; it stays as it is.

    Raises:
        UnreadableImageError: It can't be decoded, or is of other numbers, whose white only the file tells.
    """
    where = str(getattr(image, "filename", "")) or "the image"
    if image.mode[0] in "IF":
        raise UnreadableImageError(
            where, f"is open in mode {image.mode}, which doesn't say which value is white", "Give its path."
        )
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        upright = ImageOps.exif_transpose(image)
        return upright if upright.mode == "RGB" else upright.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # As of files: decoders raise whatever comes.
        raise UnreadableImageError(where, f"can't be decoded: {error}", _AGAIN) from error


def is_one_colour(pixels: bytes) -> bool:
    """Return whether all pixels are equal, given as red, green and blue in turn."""
    return pixels == pixels[:3] * (len(pixels) // 3)


ONE_COLOUR = ("shows a single colour", "Get the picture again, or take it out: there is no face in it.")
"""Fault and remedy of a picture that decodes to one value."""


@dataclass(frozen=True)
class ImageFacts:
    """What a look at an image file tells.

    Attributes:
        mode: Colour mode of the file by Pillow's name.
        size: (width, height) in pixels, upright.
        one_colour: Whether all pixels are equal.
        reduced: Whether the file was decoded at a fraction of its size.
        digest: Digest of what was decoded: images of equal pixels have equal ones, if both or neither
            are reduced.
    """

    mode: str
    size: tuple[int, int]
    one_colour: bool
    reduced: bool
    digest: bytes


def inspect_image(path: Path) -> ImageFacts:
    """Read a whole image file, so that a cut-off one shows, at the least cost.

    JPEG is decoded at an eighth of its size, which still reads every byte.

    Raises:
        FileNotFoundError, UnreadableImageError: As `read_image`.
    """
    with _opened(path, path, FORMATS) as image:
        mode, (width, height), samples = image.mode, image.size, _samples_of(image)
        image.draft(None, (1, 1))
        reduced = image.size != (width, height)
        turned = reduced and _orientation(image) > 4
        rgb = _upright_rgb(image, samples)
    pixels = rgb.tobytes()
    one_colour = is_one_colour(pixels)
    if one_colour and reduced:
        # Each pixel is a mean of 8 × 8: a regular pattern would pass for one colour.
        one_colour = is_one_colour(read_image(path).tobytes())
    size = ((height, width) if turned else (width, height)) if reduced else rgb.size
    return ImageFacts(mode, size, one_colour, reduced, pixel_digest(pixels))


def pixel_digest(pixels: bytes) -> bytes:
    """Return a digest of an image's pixels, 16 bytes."""
    return blake2b(pixels, digest_size=16).digest()


@contextmanager
def _opened(source: Path | bytes, where: object, formats: Sequence[str]) -> Iterator[ImageFile.ImageFile]:
    """Open an image; whatever is raised until it is closed is a fault of the file."""
    where = where or (source if isinstance(source, Path) else "the image")
    # A switch of the whole process that some libraries turn on: it would fill what is missing with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    content = b""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        with Image.open(io.BytesIO(content), formats=tuple(formats)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # Decoders raise whatever comes: OSError, SyntaxError, struct.error, ...
        raise UnreadableImageError(where, *_explain(error, content)) from error


class _Fault(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong with an image that can be decoded: a fault and its remedy."""


@dataclass(frozen=True)
class _Samples:
    """What an image file says of its numbers.

    Attributes:
        bits: Of the type that holds them.
        form: 1 for unsigned, 2 for signed, 3 for floating-point numbers, as in TIFF.
        white: The value that means white, black being 0; None if the file doesn't say.
        named: Whether the file names its white; else it is the type's largest value.
        inverted: Whether 0 means white, and Pillow leaves that as it is.
    """

    bits: int = 8
    form: int = 1
    white: float | None = 255
    named: bool = False
    inverted: bool = False

    def __str__(self) -> str:
        return f"{self.bits}-bit {({2: 'signed ', 3: 'floating-point '}).get(self.form, '')}numbers"


_WIDE = _Samples(bits=16, white=65535)


def _samples_of(image: ImageFile.ImageFile) -> _Samples:
    """Return what the numbers of an image that isn't decoded yet mean."""
    if image.format == "TIFF":
        return _samples_of_tiff(image.tag_v2, image.mode)  # type: ignore[attr-defined]
    if image.mode == "F":
        return _Samples(bits=32, form=3, white=None)
    # PNG of 16 bits a channel in colour is decoded to 8; only the name of its layout tells.
    layout = str(image.tile[0][3]) if image.format == "PNG" and image.tile else ""
    return _WIDE if image.mode.startswith("I") or "16" in layout else _Samples()


def _samples_of_tiff(tags: Any, mode: str) -> _Samples:
    def first(*numbers: int, default: float) -> Any:
        value = next((tags[number] for number in numbers if number in tags), default)
        return value[0] if isinstance(value, tuple) else value

    if first(254, default=0) & 1:
        raise _Fault(
            "begins with a preview of another picture, as raw files of cameras do",
            "Develop it to PNG or JPEG by the camera's program.",
        )
    bits, form = first(258, default=1), first(339, default=1)
    # A largest value of 2ⁿ − 1 is a range; any other is taken for a mere statistic of this one picture.
    low, high = (first(*numbers, default=0) for numbers in ((340, 280), (341, 281)))
    named = low == 0 and high >= 1 and float(high + 1).is_integer() and int(high + 1).bit_count() == 1
    white = float(high) if named else float(2**bits - 1) if form == 1 else None
    return _Samples(bits, form, white, named, inverted=first(262, default=1) == 0 and mode[0] in "IF")


def _upright_rgb(image: ImageFile.ImageFile, samples: _Samples) -> Image.Image:
    image.load()
    if _orientation(image) > 1:
        ImageOps.exif_transpose(image, in_place=True)
    if samples.white is None:
        raise _Fault(f"holds {samples} and doesn't say which of them is white", _RESCALE)
    if image.mode[0] in "IF":
        return Image.fromarray(_to_bytes(np.asarray(image), samples)).convert("RGB")
    if samples.bits > 8:
        # Pillow has dropped the lower 8 bits.
        extrema: Any = image.getextrema()
        bands = zip(image.getbands(), extrema, strict=True)
        largest = max(high for band, (_, high) in bands if band not in "AaX")
        _require_full_range(largest * 256 + 255, samples)
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return how an image lies, as EXIF numbers it: from 5 on, width and height change places."""
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) else 1


_RESCALE = "Save it with 8 bits a channel, so that black is 0 and white is 255."


def _to_bytes(values: NDArray[Any], samples: _Samples) -> NDArray[np.uint8]:
    """Scale numbers of any type, so that white becomes 255."""
    assert samples.white is not None
    white = samples.white
    if values.dtype == np.int32 and samples.bits == 32 and samples.form == 1:
        values = values.view(np.uint32)  # Pillow knows no unsigned numbers of 32 bits.
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # NaN is refused, too.
        raise _Fault(
            f"holds {samples} from {low:g} to {high:g}, where 0 is black and {white:g} is white",
            _RESCALE,
        )
    if not samples.named:
        _require_full_range(int(high), samples)
    # Of whole numbers the upper 8 bits are kept.
    whole = values.dtype.kind != "f" and white >= 255
    scaled = np.floor(values * (256 / (white + 1))) if whole else np.rint(values * (255 / white))
    eight = scaled.astype(np.uint8)
    return 255 - eight if samples.inverted else eight


def _require_full_range(largest: int, samples: _Samples) -> None:
    """Refuse numbers that leave the upper two bits of their type unused.

    Cameras of 10, 12 or 14 bits are often stored so; taken by the type's range, the picture is nearly black.
    """
    used = largest.bit_length()
    if used <= samples.bits - 2:
        raise _Fault(
            f"holds {used} bits in numbers of {samples.bits}, so that it would be nearly black", _RESCALE
        )


_AGAIN = "Get the file again, or take it out."
_CONVERT = "Convert it to PNG or JPEG, or take it out."
_TOO_LARGE = (
    f"has more than {MOST_PIXELS // 10**6} million pixels",
    "Shrink it, or cut the face out. If it isn't so large, its header is damaged: get the file again.",
)

_READABLE = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ"),
    "PPM": tuple(f"P{letter}{space}".encode() for letter in "123456f" for space in " \t\r\n"),
}
"""Format → how its files begin; WebP and AVIF are told by more than that."""

_OTHERS = {
    b"%!PS": ("is PostScript, which isn't read", _CONVERT),
    b"\xc5\xd0\xd3\xc6": ("is PostScript, which isn't read", _CONVERT),
    b"%PDF": ("is a PDF, not a picture", _CONVERT),
    b"8BPS": ("is a Photoshop file, which isn't read", _CONVERT),
    b"\xff\n": ("is JPEG XL, which isn't read", _CONVERT),
    b"\0\0\0\x0cJXL ": ("is JPEG XL, which isn't read", _CONVERT),
    b"PK\x03\x04": ("is a zip archive, not a picture", "Unpack it, and name the pictures in it."),
    b"\x1aE\xdf\xa3": ("is a video, not a picture", "Take its frames out, one file each."),
    b"version https://git-lfs": (
        "is a pointer of Git LFS, in place of the picture",
        "Fetch the pictures, in the folder of that clone: git lfs pull",
    ),
    b"/annex/objects/": (
        "is a pointer of git-annex, in place of the picture",
        "Fetch the pictures, in the folder of that clone: git annex get .",
    ),
}
"""How files begin that are no picture, or none that is read → fault and remedy."""


def _explain(error: Exception, content: bytes) -> tuple[str, str]:
    """Return fault and remedy of a file that can't be used."""
    if isinstance(error, _Fault):
        fault, remedy = error.args
        return fault, remedy
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_LARGE
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be opened: {error.strerror}", "Is it a file, and may you read it? Else take it out."
    if not content:
        return "is empty", _AGAIN
    kind = _kind_of(content)
    if kind is None:
        return _explain_stranger(content)
    if isinstance(error, UnidentifiedImageError):
        return f"is {kind}, but cut off, damaged, or of a rare sort", f"Get the file again. {_CONVERT}"
    if "truncated" in str(error).lower():
        return f"is {kind} that is cut off after {len(content):,} bytes: {error}", _AGAIN
    return f"is {kind} that can't be decoded: {error}", _AGAIN


def _kind_of(content: bytes) -> str | None:
    for kind, beginnings in _READABLE.items():
        if content.startswith(beginnings):
            return f"a {kind}"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "a WebP"
    return "an AVIF" if b"avif" in _brands(content) or b"avis" in _brands(content) else None


def _brands(content: bytes) -> set[bytes]:
    """Return what a file of ISO's media format says that it is; empty for others."""
    if content[4:8] != b"ftyp":
        return set()
    box = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return {box[start : start + 4] for start in range(0, len(box), 4)}


def _explain_stranger(content: bytes) -> tuple[str, str]:
    for beginning, explained in _OTHERS.items():
        if content.startswith(beginning):
            return explained
    if brands := _brands(content):
        if any(brand[:3] in (b"hei", b"hev") or brand in (b"mif1", b"msf1") for brand in brands):
            return "is a HEIC, as telephones save them, which isn't read", (
                "Convert it to PNG: heif-convert FILE.heic FILE.png, or on a Mac:"
                " sips -s format png FILE.heic --out FILE.png"
            )
        return _OTHERS[b"\x1aE\xdf\xa3"]
    if not any(content[:1024]):
        return "begins with zeros alone, as a broken download does", _AGAIN
    text = content[:512].decode("latin-1").removeprefix("ï»¿").strip()
    begins = text.lower().startswith
    if begins(("<!doctype html", "<html", "<head", "<!--")):
        return "is a web page, not a picture", (
            "Open the page in a browser to see what the site answers, then get the picture again."
        )
    if begins(("<?xml", "<svg")) and "<svg" in text.lower():
        return "is a drawing in SVG, which isn't read", _CONVERT
    if text.isascii() and text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return f"is text, not a picture: {' '.join(text.split())[:40]!r}", _AGAIN
    return f"is no picture in a format that is read ({', '.join(FORMATS)})", _CONVERT


def explain_missing(
    root: Path, name: str, listings: dict[Path, dict[str, list[str]]]
) -> tuple[str, str] | None:
    """Return what is wrong with a name whose file is there under another spelling, or None if it isn't.

    Args:
        root: Folder of the data set.
        name: Path below it, with forward slashes, that leads to no file.
        listings: Folders that were looked through; filled as needed, so that each is read once.

    Returns:
        Fault and remedy.
    """
    folder = root
    for part in PurePosixPath(name).parts:
        if (folder / part).exists() or (folder / part).is_symlink():
            folder /= part
            continue
        if folder not in listings:
            listings[folder] = {}
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                listings[folder].setdefault(_spell(entry.name), []).append(entry.name)
        there = listings[folder].get(_spell(part), [])
        if len(there) != 1:
            return None
        old, new = (shlex.quote(str(folder / spelling)) for spelling in (there[0], part))
        if unicodedata.normalize("NFC", part) == unicodedata.normalize("NFC", there[0]):
            differing = f"is written in Unicode's form {_form(there[0])}, here in {_form(part)}"
        else:
            differing = f"is called {there[0]}"
        return (
            f"{name} isn't a file under {root}: on disk, {part} {differing}",
            f"Rename it: mv -- {old} {new}",
        )
    return None


def _spell(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _form(name: str) -> str:
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)), "a mixed form")
