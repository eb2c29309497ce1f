"""Image files: which are read, by what range, and what is said of those that can't be."""

import ast
import io
import json
import shlex
import struct
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from comface_bench.core.problems import ProblemList
from comface_bench.data.image_file import (
    FORMATS,
    MOST_PIXELS,
    UnreadableImageError,
    explain_missing,
    inspect_image,
    is_one_colour,
    read_image,
)

ROOT = Path(__file__).parents[2]
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
GREY = NOISE[..., 0]


def encode(values, form="PNG", **options):
    stream = io.BytesIO()
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    picture.save(stream, form, **options)
    return stream.getvalue()


def png_rgb16(values):
    """Encode a PNG of 16 bits a channel in colour, which Pillow can't write."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(values, **tags):
    """Encode a plain TIFF by hand: all that a camera may write, and Pillow doesn't.

    Args:
        values: (height, width) or (height, width, 3), as they stand in the file.
        tags: Of the first page: `t262=0` sets tag 262.
    """
    samples = 1 if values.ndim == 2 else 3
    bits, form = 8 * values.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    found = {256: values.shape[1], 257: values.shape[0], 258: (bits,) * samples, 259: 1}
    found |= {262: 1 if samples == 1 else 2, 273: 8, 277: samples, 278: values.shape[0], 279: values.nbytes}
    found |= {339: (form,) * samples, **{int(key[1:]): value for key, value in tags.items()}}
    pixels = values.tobytes()
    directory, behind = struct.pack("<H", len(found)), b""
    place = 8 + len(pixels) + 2 + 12 * len(found) + 4
    for key, value in sorted(found.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        form, letter = (11, "f") if isinstance(numbers[0], float) else (4, "I")
        packed = struct.pack(f"<{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            packed, behind = struct.pack("<I", place + len(behind)), behind + packed
        directory += struct.pack("<HHI", key, form, len(numbers)) + packed
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + bytes(4) + behind


def grey_of(content):
    return np.asarray(read_image(content))[..., 1]


def mpo():
    return encode(Image.fromarray(NOISE), "MPO", save_all=True, append_images=[Image.fromarray(NOISE[::-1])])


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FULL = RAMP * 16 + 9
READ = {
    "16 bits in PNG": (lambda: encode(FULL), FULL >> 8),
    "16 bits in PGM": (lambda: encode(FULL, "PPM"), FULL >> 8),
    "16 bits in TIFF": (lambda: tiff(FULL), FULL >> 8),
    "16 bits in TIFF, the high byte first": (
        lambda: encode(Image.fromarray(FULL.astype(">u2")), "TIFF"),
        FULL >> 8,
    ),
    "16 bits in JPEG 2000": (lambda: encode(FULL, "JPEG2000"), FULL >> 8),
    "16 bits in TIFF, 0 is white": (lambda: tiff(FULL, t262=0), 255 - (FULL >> 8)),
    "a range of 12 bits in PGM": (lambda: b"P5 64 64 4095\n" + RAMP.astype(">u2").tobytes(), None),
    "12 bits in 16 that the TIFF names": (lambda: tiff(RAMP, t281=4095), RAMP >> 4),
    "a statistic that is no range": (lambda: tiff(FULL, t281=int(FULL.max())), FULL >> 8),
    "32 bits in TIFF": (lambda: tiff(FULL.astype(np.uint32) << 16), FULL >> 8),
    "16 bits in 32 that the TIFF names": (lambda: tiff(FULL.astype(np.int32), t340=0, t341=65535), FULL >> 8),
    "floating point up to 1": (
        lambda: tiff((RAMP / 4095).astype(np.float32), t340=0.0, t341=1.0),
        np.rint(RAMP / 4095 * 255),
    ),
    "floating point up to 255": (lambda: tiff(GREY.astype(np.float32), t340=0.0, t341=255.0), GREY),
    "floating point up to 1, 0 is white": (
        lambda: tiff((GREY / 255).astype(np.float32), t262=0, t340=0.0, t341=1.0),
        255 - GREY,
    ),
}


@pytest.mark.parametrize("name", READ)
def test_wide_numbers_are_scaled_by_the_range_of_the_format_or_the_file(name):
    make, expected = READ[name]
    found = grey_of(make())
    if expected is None:
        # Pillow scales a PGM to 16 bits: one level may differ by rounding.
        assert np.abs(found.astype(int) - (RAMP >> 4)).max() <= 1
    else:
        np.testing.assert_array_equal(found, expected)


def test_colour_of_sixteen_bits_keeps_its_upper_half():
    values = np.random.default_rng(1).integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    for content in (png_rgb16(values), tiff(values)):
        np.testing.assert_array_equal(np.asarray(read_image(content)), values >> 8)


DARK = "bits in numbers of"
NOT_SAID = "doesn't say which of them is white"
REFUSED = {
    "floating point": (
        lambda: tiff(GREY.astype(np.float32)),
        f"32-bit floating-point numbers and {NOT_SAID}",
    ),
    "floating point of a PFM": (
        lambda: encode(GREY.astype(np.float32), "PPM"),
        f"floating-point numbers and {NOT_SAID}",
    ),
    "floating point with a mere statistic": (
        lambda: tiff(GREY.astype(np.float32), t340=0.0, t341=0.97),
        NOT_SAID,
    ),
    "floating point above its range": (
        lambda: tiff(GREY.astype(np.float32), t340=0.0, t341=1.0),
        "from 0 to 255, where 0 is black and 1 is white",
    ),
    "not a number": (
        lambda: tiff(np.where(GREY > 9, np.nan, 0.5).astype(np.float32), t340=0.0, t341=1.0),
        "from nan to nan",
    ),
    "signed 32 bits": (lambda: tiff(GREY.astype(np.int32)), f"32-bit signed numbers and {NOT_SAID}"),
    "signed 16 bits": (lambda: tiff(GREY.astype(np.int16)), f"16-bit signed numbers and {NOT_SAID}"),
    "signed 8 bits": (lambda: tiff((GREY // 2).astype(np.int8)), f"8-bit signed numbers and {NOT_SAID}"),
    "8 bits in 32": (lambda: tiff(GREY.astype(np.uint32)), f"8 {DARK} 32"),
    "12 bits in 16": (lambda: encode(RAMP), f"12 {DARK} 16"),
    "12 bits in 16, TIFF": (lambda: tiff(RAMP), f"12 {DARK} 16"),
    "8 bits in 16": (lambda: encode(GREY.astype(np.uint16)), f"8 {DARK} 16"),
    "14 bits in 16": (lambda: encode(RAMP * 4), f"14 {DARK} 16"),
    "12 bits in 16, colour": (lambda: png_rgb16(NOISE.astype(np.uint16) * 16), f"12 {DARK} 16"),
    "12 bits in 16, colour, TIFF": (lambda: tiff(NOISE.astype(np.uint16) * 16), f"12 {DARK} 16"),
    "a preview": (lambda: tiff(GREY, t254=1), "begins with a preview"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_without_a_range_are_refused(name, tmp_path):
    make, reason = REFUSED[name]
    path = tmp_path / "wide.tif"
    path.write_bytes(make())
    for look in (read_image, inspect_image):
        with pytest.raises(UnreadableImageError) as caught:
            look(path)
        assert caught.value.message.startswith(f"{path} ")
        assert reason in caught.value.fault
        assert caught.value.hint


def test_fifteen_bits_in_sixteen_may_be_a_dark_picture():
    np.testing.assert_array_equal(grey_of(encode(RAMP * 8)), RAMP >> 5)


PAGE = b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"
POINTER = b"version https://git-lfs.example/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + b"\0" * 100


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as members:
        members.writestr("a.png", b"")
    return stream.getvalue()


def jpeg(quality=95):
    return encode(np.repeat(NOISE, 8, axis=0), "JPEG", quality=quality)


def huge_png():
    whole = png_rgb16(NOISE.astype(np.uint16) << 8)
    header = struct.pack(">IIBBBBB", 60000, 60000, 16, 2, 0, 0, 0)
    return whole[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[33:]


AGAIN = "Get the file again"
STRANGERS = {
    "no bytes": (lambda: b"", "is empty", AGAIN),
    "zeros": (lambda: bytes(5000), "begins with zeros alone", AGAIN),
    "a web page": (lambda: PAGE, "is a web page, not a picture", "in a browser"),
    "a page without its first line": (
        lambda: b"<HTML><HEAD>",
        "is a web page, not a picture",
        "in a browser",
    ),
    "a pointer of Git LFS": (lambda: POINTER, "is a pointer of Git LFS", "git lfs pull"),
    "a pointer of git-annex": (lambda: b"/annex/objects/SHA256E-s5--0.png\n", "git-annex", "git annex get"),
    "an answer in words": (
        lambda: b'{"error": "quota"}',
        'is text, not a picture: \'{"error": "quota"}\'',
        "again",
    ),
    "HEIC": (lambda: HEIC, "is a HEIC", "heif-convert"),
    "HEIC by its second name": (
        lambda: HEIC.replace(b"ftypheic", b"ftypmif1"),
        "is a HEIC",
        "sips -s format png",
    ),
    "a video": (lambda: HEIC.replace(b"heic", b"isom").replace(b"mif1", b"mp42"), "is a video", "frames"),
    "JPEG XL": (lambda: b"\xff\n" + bytes(range(60)), "is JPEG XL", "Convert"),
    "Photoshop": (lambda: b"8BPS\0\1" + bytes(60), "is a Photoshop file", "Convert"),
    "PDF": (lambda: b"%PDF-1.7\n", "is a PDF", "Convert"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "is PostScript, which isn't read", "Convert"),
    "SVG": (lambda: b'<?xml version="1.0"?>\n<svg/>', "is a drawing in SVG", "Convert"),
    "zip": (archive, "is a zip archive", "Unpack"),
    "bytes without meaning": (
        lambda: bytes(range(128, 256)),
        "is no picture in a format that is read",
        "Convert",
    ),
    "a JPEG cut in half": (lambda: jpeg()[: len(jpeg()) // 2], "is a JPEG that is cut off after", AGAIN),
    "a JPEG without its end": (lambda: jpeg()[:-50], "is a JPEG that is cut off after", AGAIN),
    "a JPEG's first bytes": (lambda: jpeg()[:12], "is a JPEG", AGAIN),
    "a PNG cut in half": (lambda: encode(NOISE)[:1000], "is a PNG that is cut off after", AGAIN),
    "a PNG with a wrong byte": (
        lambda: encode(NOISE)[:700] + b"?" + encode(NOISE)[701:],
        "is a PNG that can't be decoded",
        AGAIN,
    ),
    "a TIFF's header": (lambda: tiff(GREY)[:20], "is a TIFF", AGAIN),
    "over 178 megapixels": (huge_png, "has more than 178 million pixels", "Shrink"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_files_that_are_no_picture_each_have_a_sentence_and_a_remedy(name, tmp_path):
    make, fault, remedy = STRANGERS[name]
    path = tmp_path / "face.jpg"
    path.write_bytes(make())
    for look in (read_image, inspect_image):
        with pytest.raises(UnreadableImageError) as caught:
            look(path)
        assert fault in caught.value.fault
        assert remedy in caught.value.hint
        assert caught.value.message == f"{path} {caught.value.fault}"


def test_sentences_differ_between_kinds():
    kinds = [
        "no bytes",
        "zeros",
        "a web page",
        "a pointer of Git LFS",
        "HEIC",
        "PostScript",
        "over 178 megapixels",
    ]
    assert len({STRANGERS[kind][1] for kind in kinds}) == len(kinds)


def test_the_limit_of_pixels_holds_whatever_another_library_sets(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnreadableImageError, match="has more than 178 million pixels"):
        read_image(huge_png())
    assert MOST_PIXELS // 10**6 == 178


def test_cut_off_files_are_refused_whatever_another_library_sets(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UnreadableImageError, match="cut off"):
        read_image(jpeg()[:-50])


WRITTEN = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}


@pytest.mark.parametrize("form", FORMATS)
def test_every_listed_format_is_read(form):
    if form in ("WEBP", "AVIF") and not features.check(form.lower()):
        pytest.skip(f"this Pillow has no {form}")
    smooth = np.asarray(Image.fromarray(NOISE[:3, :4]).resize((32, 24), Image.Resampling.BICUBIC))
    found = np.asarray(read_image(encode(smooth, form, **WRITTEN.get(form, {}))))
    exact = form in ("BMP", "PNG", "PPM", "TIFF", "JPEG2000", "WEBP")
    assert np.abs(found.astype(int) - smooth).mean() < (1e-9 if exact else 12)


def test_a_telephones_jpeg_of_two_pictures_is_its_first():
    content = mpo()
    whole = np.asarray(Image.open(io.BytesIO(content), formats=["JPEG"]).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read_image(content)), whole)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_picture_upright(form, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encode(NOISE, form, exif=exif))
    upright = (24, 32) if orientation > 4 else (32, 24)
    assert inspect_image(path).size == read_image(path).size == upright


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_one_colour_is_noticed_in_every_mode(mode, tmp_path):
    for name, values in (("plain", np.full_like(NOISE, 255)), ("noise", NOISE)):
        path = tmp_path / name
        path.write_bytes(encode(Image.fromarray(values).convert(mode)))
        assert (
            inspect_image(path).one_colour == is_one_colour(read_image(path).tobytes()) == (name == "plain")
        )


def test_a_pattern_that_an_eighth_of_the_size_would_hide_is_not_one_colour(tmp_path):
    path = tmp_path / "stripes.jpg"
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    path.write_bytes(encode(stripes, "JPEG", quality=100))
    facts = inspect_image(path)
    assert (facts.reduced, facts.one_colour) == (True, False)


def test_a_folder_is_told_from_a_picture(tmp_path):
    with pytest.raises(UnreadableImageError, match="can't be opened"):
        read_image(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


WATCHED = (
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.system",
    "os.startfile",
)
_started = []


@pytest.fixture(scope="module")
def hook():
    """Note every process that this one starts; a hook can't be taken away again, but does nothing else."""
    sys.addaudithook(lambda event, _: _started.append(event) if event in WATCHED else None)


@pytest.fixture
def started(hook):
    _started.clear()
    return _started


@pytest.mark.parametrize("name", ["face.png", "face.jpg", "face.eps", "face.ps", "face"])
def test_nothing_that_a_file_holds_starts_a_process(name, tmp_path, started, call):
    path = tmp_path / name
    # Harmless: a header that says PostScript, and nothing behind it.
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    for look in (read_image, inspect_image):
        with pytest.raises(UnreadableImageError, match="is PostScript, which isn't read"):
            look(path)
    with pytest.raises(UnreadableImageError, match="is PostScript"):
        read_image(path.read_bytes())
    (tmp_path / "faces.csv").write_text(f"image,subject,pain\n{name},P1,1\n")
    status, _, err = call("data", "check", f"csv:{tmp_path}/faces.csv")
    assert status == 2
    assert "is PostScript, which isn't read" in err
    assert started == []


def test_the_hook_would_notice_a_process(started):
    import subprocess

    subprocess.run([sys.executable, "-c", ""], check=True)
    assert "subprocess.Popen" in started


PRODUCT = ("benchmark", "baselines", "comface", "leaderboards", "tasks", "timings", "examples")


def openings(source):
    """Return line and keywords of each call in a source that opens a picture by Pillow, or in another way."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.split(".")[-2:] == ["Image", "open"] or called.split(".")[-1] in ("imread", "imdecode"):
            found.append((node.lineno, {keyword.arg for keyword in node.keywords}))
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    found += [
        (node.lineno, set())
        for node in imports
        if node.module == "PIL.Image" and any(alias.name == "open" for alias in node.names)
    ]
    found += [
        (node.lineno, set())
        for node in imports
        if node.module == "PIL" and any(alias.name == "Image" and alias.asname for alias in node.names)
    ]
    return found


def test_the_product_opens_pictures_in_one_place():
    places = {
        str(path.relative_to(ROOT)): openings(path.read_text())
        for folder in PRODUCT
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert len(places) > 100
    assert [name for name, found in places.items() if found] == ["benchmark/data/image_file.py"]
    assert [keywords for _, keywords in places["benchmark/data/image_file.py"]] == [{"formats"}]


def test_tests_name_the_formats_that_they_open():
    bare = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, keywords in openings(path.read_text())
        if "formats" not in keywords
    ]
    assert bare == []


@pytest.mark.parametrize(
    "line",
    [
        "Image.open(path)",
        "PIL.Image.open(path)",
        "cv2.imread(path)",
        "from PIL.Image import open",
        "from PIL import Image as Picture",
    ],
)
def test_a_planted_opening_is_found(line):
    assert len(openings(f"import os\n{line}\n")) == 1
    assert openings("os.open(path)\nwebbrowser.open(path)\nopened.convert('RGB')\n") == []


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
@pytest.mark.parametrize("name", ["José.png", "Zoë/1.png"])
def test_a_name_in_another_unicode_form_is_told_from_a_missing_file(
    tmp_path, draw_image, call, on_disk, in_table, name
):
    there, asked = (unicodedata.normalize(form, name) for form in (on_disk, in_table))
    draw_image(tmp_path / there)
    (tmp_path / "faces.csv").write_text(f"image,subject,pain\n{asked},P1,1\n", encoding="utf-8")
    status, out, _ = call("data", "check", f"csv:{tmp_path}/faces.csv", "--json")
    (problem,) = [one for one in json.loads(out)["problems"] if "Unicode" in one["message"]]
    assert status == 2
    assert f"is written in Unicode's form {on_disk}, here in {in_table}" in problem["message"]
    mv, _, old, new = shlex.split(problem["remedy"].removeprefix("Rename it: "))
    assert mv == "mv"
    Path(old).rename(new)
    _, out, _ = call("data", "check", f"csv:{tmp_path}/faces.csv", "--json")
    assert not [one for one in json.loads(out)["problems"] if "isn't a file" in one["message"]]


def test_a_name_in_other_capitals_is_told_from_a_missing_file(tmp_path, draw_image):
    draw_image(tmp_path / "A" / "1.JPG")
    fault, remedy = explain_missing(tmp_path, "A/1.jpg", {})
    assert "on disk, 1.jpg is called 1.JPG" in fault
    assert remedy == f"Rename it: mv -- {tmp_path}/A/1.JPG {tmp_path}/A/1.jpg"
    assert explain_missing(tmp_path, "A/2.jpg", {}) is None
    assert explain_missing(tmp_path, "B/1.jpg", {}) is None
    (tmp_path / "A" / "1.Jpg").touch()
    assert explain_missing(tmp_path, "A/1.jpg", {}) is None


def test_each_folder_is_looked_through_once(tmp_path, draw_image, monkeypatch):
    draw_image(tmp_path / "1.JPG")
    listed = []
    plain = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or plain(path))
    listings = {}
    for number in range(50):
        explain_missing(tmp_path, f"{number}.jpg", listings)
    assert listed == [tmp_path]


def test_problem_lists_keep_the_order_of_the_table(tmp_path):
    from comface_bench.data.manifest import digest_contents

    problems = ProblemList()
    rows = [{"image": f"{number}.png", "subject": "1"} for number in range(3)]
    digest_contents(tmp_path, rows, problems)
    assert [problem.where for problem in problems.found] == ["0.png", "1.png", "2.png"]
