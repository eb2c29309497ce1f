"""The image store: decoding, resizing, and files that survive a crash."""

import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.data import image_store
from comface_bench.data.image_store import decode_image, open_image_store

BILINEAR = Image.Resampling.BILINEAR


def picture(width=30, height=20, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def planes(image):
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 30), (12, 12), (7, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P", "LA", "1"])
def test_pixels_are_those_of_pillow(tmp_path, mode, width, height):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    picture(width, height).convert(mode).save(path)
    expected = Image.open(path, formats=["JPEG", "PNG"]).convert("RGB").resize((12, 12), BILINEAR)
    decoded = decode_image(tmp_path, path.name, 12, "squash")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, planes(expected))


def test_transparency_is_dropped_and_grey_is_repeated(tmp_path):
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    np.testing.assert_array_equal(
        decode_image(tmp_path, "clear.png", 12, "squash"), planes(picture().resize((12, 12), BILINEAR))
    )
    picture().convert("L").save(tmp_path / "grey.png")
    red, green, blue = decode_image(tmp_path, "grey.png", 12, "squash")
    assert (red == green).all()
    assert (red == blue).all()


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    wide = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 7
    Image.fromarray(wide).save(tmp_path / "wide.png")
    decoded = decode_image(tmp_path, "wide.png", 16, "squash")
    np.testing.assert_array_equal(decoded[1].ravel(), np.arange(256))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    turned = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda image: np.rot90(image),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture(16, 16)
    image.save(tmp_path / "turned.png", exif=exif)
    decoded = decode_image(tmp_path, "turned.png", 16, "squash")
    np.testing.assert_array_equal(decoded.transpose(1, 2, 0), turned[orientation](np.asarray(image)))


@pytest.mark.parametrize(("width", "height", "side"), [(60, 40, 20), (40, 80, 10), (24, 24, 12)])
def test_crop_keeps_the_centre_at_the_scale_of_the_shorter_side(tmp_path, width, height, side):
    picture(width, height).save(tmp_path / "image.png")
    scale = side / min(width, height)
    scaled = picture(width, height).resize((round(width * scale), round(height * scale)), BILINEAR)
    left, top = (scaled.width - side) // 2, (scaled.height - side) // 2
    expected = planes(scaled.crop((left, top, left + side, top + side)))
    decoded = decode_image(tmp_path, "image.png", side, "crop")
    # Pillow rounds between its two passes, whose order depends on the box: one level at most.
    np.testing.assert_allclose(decoded.astype(int), expected.astype(int), atol=1)


def test_crop_of_a_long_strip_needs_no_long_strip_in_memory(tmp_path):
    strip = Image.new("RGB", (5000, 1), (1, 2, 3))
    strip.putpixel((0, 0), (9, 9, 9))
    strip.save(tmp_path / "strip.png")
    decoded = decode_image(tmp_path, "strip.png", 64, "crop")
    np.testing.assert_array_equal(np.unique(decoded.reshape(3, -1), axis=1), [[1], [2], [3]])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, kept, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # As another library might.
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"cut.{suffix}"
    picture(90, 80).save(path)
    decode_image(tmp_path, f"in/cut.{suffix}", 8, "squash")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    said = "is empty" if not kept else r"is a \w+,? (but|that is|that can't be)"
    with pytest.raises(DataFormatError, match=rf"in/cut\.{suffix} {said}") as caught:
        decode_image(tmp_path, f"in/cut.{suffix}", 8, "squash")
    assert caught.value.hint


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("page.jpg", "folder.jpg"):
        with pytest.raises(DataFormatError, match=name):
            decode_image(tmp_path, name, 8, "squash")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_single_colour_is_no_picture(tmp_path, suffix):
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / f"black.{suffix}")
    with pytest.raises(DataFormatError, match=rf"black\.{suffix} shows a single colour"):
        decode_image(tmp_path, f"black.{suffix}", 8, "squash")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"no image a/b\.png") as caught:
        decode_image(tmp_path, "a/b.png", 8, "squash")
    assert "--data" in caught.value.hint


NAMES = tuple(f"images/{number}.png" for number in range(5))
SIZE = 8


@pytest.fixture
def root(tmp_path, draw_image):
    for seed, name in enumerate(NAMES):
        draw_image(tmp_path / "data" / name, seed=seed, size=(9 + seed, 11))
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "images"


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(image_store, "decode_image", fail)


def expected_pixels(root, resize="squash"):
    return np.stack([decode_image(root, name, SIZE, resize) for name in NAMES])


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("workers", [1, 3, None])
def test_a_store_holds_the_decoded_images_in_order(root, cache, resize, workers):
    store = open_image_store(root, NAMES, SIZE, cache=cache, resize=resize, workers=workers)
    expected = expected_pixels(root, resize)
    assert (len(store), store.size, store.names) == (5, SIZE, NAMES)
    assert store.digest == hashlib.sha256(expected.tobytes()).hexdigest()
    np.testing.assert_array_equal(store.pixels, expected)


def test_gather_takes_any_rows_in_any_order(root, cache):
    store = open_image_store(root, NAMES, SIZE, cache=cache)
    expected = torch.from_numpy(expected_pixels(root))
    for rows in ([3], [4, 0, 0, 2], [], np.array([1, 2], dtype=np.int32)):
        images = store.gather(np.array(rows, dtype=getattr(rows, "dtype", np.int64)))
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert torch.equal(images, expected[torch.tensor(np.asarray(rows, dtype=np.int64))])
    store.gather(np.array([1])).zero_()  # Its own memory: the store stays as it is.
    assert torch.equal(store.gather(np.array([1])), expected[1:2])
    with pytest.raises(IndexError):
        store.gather(np.array([5]))
    with pytest.raises(ValueError, match="read-only"):
        store.pixels[0] = 0


def test_reopening_decodes_nothing(root, cache, request):
    first = open_image_store(root, NAMES, SIZE, cache=cache)
    request.getfixturevalue("no_decoding")
    again = open_image_store(root, NAMES, SIZE, cache=cache, workers=1)
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.pixels, first.pixels)


def test_the_data_root_is_only_read(root, cache):
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    open_image_store(root, NAMES, SIZE, cache=cache)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


def test_progress_counts_every_image(root, cache):
    seen = []
    for _ in range(2):
        open_image_store(
            root, NAMES, SIZE, cache=cache, workers=1, progress=lambda done, total: seen.append((done, total))
        )
    assert seen == [(done, 5) for done in range(1, 6)]


def test_whatever_changes_the_pixels_makes_another_store(root, cache, draw_image):
    first = open_image_store(root, NAMES, SIZE, cache=cache)
    others = [
        open_image_store(root, NAMES, SIZE + 1, cache=cache),
        open_image_store(root, NAMES, SIZE, cache=cache, resize="crop"),
        open_image_store(root, NAMES[::-1], SIZE, cache=cache),
        open_image_store(root, NAMES[:4], SIZE, cache=cache),
    ]
    draw_image(root / NAMES[2], seed=99, size=(11, 11))
    changed = open_image_store(root, NAMES, SIZE, cache=cache)
    np.testing.assert_array_equal(changed.pixels, expected_pixels(root))
    assert len({store.digest for store in [first, changed, *others]}) == 6
    assert len(list(cache.glob("*.json"))) == 6


def test_a_file_of_the_same_length_but_newer_is_read_again(root, cache):
    open_image_store(root, NAMES, SIZE, cache=cache)
    path = root / NAMES[0]
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    open_image_store(root, NAMES, SIZE, cache=cache)
    assert len(list(cache.glob("*.json"))) == 2


@pytest.mark.parametrize("broken", [0, 2, 4])
def test_a_build_that_fails_leaves_nothing(root, cache, broken):
    path = root / NAMES[broken]
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(DataFormatError, match=NAMES[broken]):
        open_image_store(root, NAMES, SIZE, cache=cache, workers=2)
    assert list(cache.iterdir()) == []
    path.write_bytes(whole)
    assert len(open_image_store(root, NAMES, SIZE, cache=cache)) == 5


def test_a_build_that_is_interrupted_leaves_nothing(root, cache):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_image_store(root, NAMES, SIZE, cache=cache, progress=interrupt)
    assert list(cache.iterdir()) == []


def test_a_build_that_is_killed_leaves_nothing_that_counts(root, cache):
    code = f"""
import os, signal
from pathlib import Path
from comface_bench.data.image_store import open_image_store
kill = lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL)
open_image_store(Path({str(root)!r}), {NAMES!r}, {SIZE}, cache=Path({str(cache)!r}), progress=kill)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in cache.iterdir()] == [".unfinished"]
    store = open_image_store(root, NAMES, SIZE, cache=cache)
    np.testing.assert_array_equal(store.pixels, expected_pixels(root))


def test_pixels_without_a_header_do_not_count(root, cache):
    open_image_store(root, NAMES, SIZE, cache=cache)
    next(cache.glob("*.json")).unlink()
    next(cache.glob("*.pixels")).write_bytes(b"\0" * (5 * 3 * SIZE * SIZE))
    np.testing.assert_array_equal(
        open_image_store(root, NAMES, SIZE, cache=cache).pixels, expected_pixels(root)
    )


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("pixels", lambda content: content[:-1]),
        ("pixels", lambda content: content + b"\0"),
        ("pixels", lambda content: b""),
        ("json", lambda content: b""),
        ("json", lambda content: b"[1]"),
        ("json", lambda content: b"{}"),
        ("json", lambda content: b"\xff\xfe"),
        ("json", lambda content: content.replace(b"[5, ", b"[6, ")),
    ],
)
def test_a_damaged_store_is_built_again(root, cache, suffix, damage):
    first = open_image_store(root, NAMES, SIZE, cache=cache)
    path = next(cache.glob(f"*.{suffix}"))
    content = path.read_bytes()
    # Replaced, not rewritten: the first store keeps its map.
    path.unlink()
    path.write_bytes(damage(content))
    again = open_image_store(root, NAMES, SIZE, cache=cache)
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.pixels, expected_pixels(root))
    assert path.read_bytes() == content


def test_builds_at_the_same_time_both_end_well(root, cache):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_image_store(root, NAMES, SIZE, cache=cache), range(8)))
    for store in stores:
        np.testing.assert_array_equal(store.pixels, expected_pixels(root))
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".pixels"]


def test_a_missing_image_is_named_before_anything_is_decoded(root, cache, no_decoding):
    for name in ("images/none.png", "images/0.png/below.png"):
        with pytest.raises(DataMissingError, match=f"no image {name}"):
            open_image_store(root, [*NAMES, name], SIZE, cache=cache)
    assert not cache.exists()


@pytest.mark.parametrize(("names", "size"), [((), SIZE), (NAMES, 0)])
def test_a_store_of_nothing_is_refused(root, cache, names, size):
    with pytest.raises(ValueError, match="holds nothing"):
        open_image_store(root, names, size, cache=cache)
