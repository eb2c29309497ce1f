"""The image store: decoding, resizing, and files that survive a crash."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from comface_bench.core.card import CHIPS
from comface_bench.core.errors import BenchError, DataFormatError, DataMissingError, StorageError
from comface_bench.data import image_store
from comface_bench.data.alignment import HOW, Aligner
from comface_bench.data.faces import Box
from comface_bench.data.image_store import decode_image, list_stores, open_image_store
from comface_bench.data.manifest import Manifest

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


def read_table(root, names=NAMES):
    """Read a data set as every run does: each file's content is hashed."""
    return Manifest.from_rows("set", root, [{"image": name, "subject": "1"} for name in names])


def open_store(root, cache, names=NAMES, size=SIZE, **options):
    return open_image_store(read_table(root, names), size, cache=cache, **options)


def all_pixels(store):
    return store.gather(np.arange(len(store))).numpy()


def expected_pixels(root, resize="squash", names=NAMES):
    return np.stack([decode_image(root, name, SIZE, resize) for name in names])


def damage(cache, change):
    """Replace the only store by a changed one; a map of it that is open stays as it was."""
    (path,) = cache.glob("*.pixels")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(bytearray(content)))
    return path, content


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("workers", [1, 3, None])
def test_a_store_holds_the_decoded_images_in_order(root, cache, resize, workers):
    store = open_store(root, cache, resize=resize, workers=workers)
    assert (len(store), store.size, store.names) == (5, SIZE, NAMES)
    np.testing.assert_array_equal(all_pixels(store), expected_pixels(root, resize))


def test_gather_takes_any_rows_in_any_order(root, cache):
    store = open_store(root, cache)
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


def test_reopening_decodes_nothing(root, cache, request):
    first = all_pixels(open_store(root, cache))
    request.getfixturevalue("no_decoding")
    np.testing.assert_array_equal(all_pixels(open_store(root, cache, workers=1)), first)


def test_the_data_root_is_only_read(root, cache):
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    open_store(root, cache)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


def test_progress_counts_every_image(root, cache):
    seen = []
    for _ in range(2):
        open_store(root, cache, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_whatever_changes_the_pixels_makes_another_store(root, cache, draw_image, monkeypatch):
    open_store(root, cache)
    open_store(root, cache, size=SIZE + 1)
    open_store(root, cache, resize="crop")
    open_store(root, cache, NAMES[:4])
    with monkeypatch.context() as patch:
        patch.setattr("PIL.__version__", "99.0")
        open_store(root, cache)
    draw_image(root / NAMES[2], seed=99, size=(11, 11))
    changed = open_store(root, cache)
    np.testing.assert_array_equal(all_pixels(changed), expected_pixels(root))
    assert len(list(cache.glob("*.pixels"))) == 6


def test_two_roots_of_equal_names_sizes_and_times_have_a_store_each(tmp_path, cache):
    for root, seed in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        for name in NAMES:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(9, 9, seed).save(path, "BMP")
            os.utime(path, ns=(10**18, 10**18))
    sizes = {path.stat().st_size for path in tmp_path.rglob("*.png")}
    assert len(sizes) == 1
    for root in (tmp_path / "one", tmp_path / "two"):
        np.testing.assert_array_equal(all_pixels(open_store(root, cache)), expected_pixels(root))


def test_an_image_replaced_under_its_size_and_time_is_read_again(root, cache):
    path = root / NAMES[0]
    for seed in (1, 2):
        picture(9, 11, seed).save(path, "BMP")
        os.utime(path, ns=(10**18, 10**18))
        np.testing.assert_array_equal(all_pixels(open_store(root, cache)), expected_pixels(root))
    assert len(list(cache.glob("*.pixels"))) == 2


def test_data_that_moved_or_were_touched_keep_their_store(root, cache, request, tmp_path):
    first = all_pixels(open_store(root, cache))
    request.getfixturevalue("no_decoding")
    shutil.move(root, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(all_pixels(open_store(tmp_path / "elsewhere", cache)), first)


def test_an_image_that_changes_after_the_manifest_is_named(root, cache, draw_image):
    table = read_table(root)
    facts = (root / NAMES[3]).stat()
    draw_image(root / NAMES[3], seed=77, size=(12, 11))
    os.utime(root / NAMES[3], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(DataFormatError, match=rf"{NAMES[3]} has changed since") as caught:
        open_image_store(table, SIZE, cache=cache)
    assert "same command" in caught.value.hint
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("broken", [0, 2, 4])
def test_a_build_that_fails_leaves_nothing(root, cache, broken):
    path = root / NAMES[broken]
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(DataFormatError, match=NAMES[broken]):
        open_store(root, cache, workers=2)
    assert list(cache.iterdir()) == []
    path.write_bytes(whole)
    assert len(open_store(root, cache)) == 5


def test_a_build_that_is_interrupted_leaves_nothing(root, cache):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(root, cache, progress=interrupt)
    assert list(cache.iterdir()) == []


def test_a_build_that_is_killed_leaves_nothing_that_counts(root, cache):
    code = f"""
import os, signal
from pathlib import Path
from comface_bench.data.image_store import open_image_store
from comface_bench.data.manifest import Manifest
kill = lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL)
table = Manifest.from_rows("set", Path({str(root)!r}), [dict(image=n, subject="1") for n in {NAMES!r}])
open_image_store(table, {SIZE}, cache=Path({str(cache)!r}), progress=kill)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in cache.iterdir()] == [".unfinished"]
    np.testing.assert_array_equal(all_pixels(open_store(root, cache)), expected_pixels(root))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: content[:100] + bytes(len(content) - 100),
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:-33] + bytes([content[-33] ^ 1]) + content[-32:],
    ],
)
def test_a_store_damaged_at_its_end_is_built_again_with_a_notice(root, cache, change):
    open_store(root, cache)
    path, content = damage(cache, change)
    told = []
    store = open_store(root, cache, notice=told.append)
    np.testing.assert_array_equal(all_pixels(store), expected_pixels(root))
    assert told == [f"the image store {path} is damaged and is built again"]
    assert path.read_bytes() == content


def test_of_a_damaged_image_no_pixel_is_given_out(root, cache):
    """Half of the bytes overwritten, as the board's r of 0.97 once became 0.72."""
    open_store(root, cache)
    half = 5 * 3 * SIZE * SIZE // 2
    path, content = damage(cache, lambda content: bytes(half) + content[half:])
    told = []
    store = open_store(root, cache, notice=told.append)
    expected = torch.from_numpy(expected_pixels(root))
    assert torch.equal(store.gather(np.array([4])), expected[4:5])
    assert not told, "whole images need no repair"
    assert torch.equal(store.gather(np.array([4, 1, 0])), expected[[4, 1, 0]])
    assert len(told) == 1
    assert path.read_bytes() == content


def test_a_store_under_another_ones_name_is_not_used(root, cache, tmp_path, draw_image):
    open_store(root, cache)
    (other,) = cache.glob("*.pixels")
    foreign = other.read_bytes()
    draw_image(root / NAMES[0], seed=5, size=(9, 11))
    open_store(root, cache)
    (mine,) = set(cache.glob("*.pixels")) - {other}
    mine.write_bytes(foreign)
    told = []
    np.testing.assert_array_equal(
        all_pixels(open_store(root, cache, notice=told.append)), expected_pixels(root)
    )
    assert told


def test_a_store_that_cannot_be_read_back_is_no_store(root, cache, monkeypatch):
    numbers = iter(range(99))
    monkeypatch.setattr(image_store, "crc32", lambda _: next(numbers))
    with pytest.raises(BenchError, match="isn't read as it was just written") as caught:
        open_store(root, cache).gather(np.array([3]))
    assert "COMFACE_CACHE" in caught.value.hint


def test_a_damaged_store_whose_images_are_gone_says_so(root, cache):
    table = read_table(root)
    open_image_store(table, SIZE, cache=cache)
    damage(cache, lambda content: bytes(100) + content[100:])
    (root / NAMES[2]).unlink()
    with pytest.raises(DataMissingError, match=NAMES[2]):
        all_pixels(open_image_store(table, SIZE, cache=cache))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_one_change_the_pixels_are_those_of_the_data(data, tmp_path_factory):
    """A byte of the store, or a pixel of an image whose size and time stay."""
    folder = tmp_path_factory.mktemp("change")
    count = data.draw(st.integers(1, 6), "images")
    names = tuple(f"{number}.bmp" for number in range(count))
    for seed, name in enumerate(names):
        picture(7, 5, seed + 10 * count).save(folder / name)
    all_pixels(open_store(folder, folder / "cache", names))
    if data.draw(st.booleans(), "in the store"):
        (path,) = (folder / "cache").glob("*.pixels")
    else:
        path = folder / data.draw(st.sampled_from(names), "image")
    facts, content = path.stat(), bytearray(path.read_bytes())
    first = 54 if path.suffix == ".bmp" else 0  # a bitmap's header
    place = data.draw(st.integers(first, len(content) - 1), "byte")
    content[place] ^= data.draw(st.integers(1, 255), "flipped")
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    told = []
    store = open_store(folder, folder / "cache", names, notice=told.append)
    np.testing.assert_array_equal(all_pixels(store), expected_pixels(folder, names=names))
    assert bool(told) == (path.suffix == ".pixels")


def test_builds_at_the_same_time_both_end_well(root, cache):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(root, cache), range(8)))
    for store in stores:
        np.testing.assert_array_equal(all_pixels(store), expected_pixels(root))
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".pixels"]


def test_a_store_that_has_no_room_is_refused_before_anything_is_decoded(
    root, cache, no_decoding, monkeypatch
):
    total = shutil.disk_usage(root).total
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(total, total, 100))
    with pytest.raises(
        StorageError, match=r"\.pixels will have .* bytes, too much for the disk at /.*100 bytes free"
    ):
        open_store(root, cache)
    assert list(cache.iterdir()) == []


def test_a_store_of_nothing_is_refused(root, cache):
    with pytest.raises(ValueError, match="holds nothing"):
        open_store(root, cache, size=0)


# Aligned faces.


class Corner:
    """A finder to which the upper left quarter is the face, but in pictures of some sizes."""

    def __init__(self, none=(), version="1"):
        self.none, self.version, self.asked = none, version, 0

    def look(self, rgb, doublings, threshold=0.0):
        self.asked += 1
        return [] if rgb.shape[1] in self.none else [Box(0, 0, rgb.shape[1] / 2, rgb.shape[0] / 2)]

    def points(self, rgb, box):
        return np.array(CHIPS["dlib"].points) * min(rgb.shape[:2]) / 2

    def describe(self):
        return {"name": "corner", "version": self.version}


SIDES = (20, 31, 44)


@pytest.fixture
def photos(tmp_path, draw_image):
    for side in SIDES:
        draw_image(tmp_path / "photos" / f"{side}.png", seed=side, size=(side, side))
    return tmp_path / "photos"


def open_faces(photos, cache, finder=None, chip="dlib", **options):
    names = [f"{side}.png" for side in SIDES]
    aligner = Aligner(chip, finder or Corner())
    return open_store(photos, cache, names, aligner=aligner, **options), aligner.finder


def test_a_store_of_faces_holds_their_chips_and_how_they_were_come_by(photos, cache):
    store, finder = open_faces(photos, cache, Corner(none=(31,)))
    assert [HOW[how] for how in store.how] == ["found", "fixed box", "found"]
    middle = Image.open(photos / "31.png", formats=["PNG"]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(store.gather(np.array([1]))[0].permute(1, 2, 0), middle)
    chip, _ = Aligner("dlib", Corner()).align(Image.open(photos / "44.png", formats=["PNG"]), SIZE)
    np.testing.assert_array_equal(store.gather(np.array([2]))[0].permute(1, 2, 0), chip)
    assert finder.asked == 4  # twice where nothing is found
    again, unasked = open_faces(photos, cache, Corner(none=(31,)))
    np.testing.assert_array_equal(again.how, store.how)
    np.testing.assert_array_equal(all_pixels(again), all_pixels(store))
    assert unasked.asked == 0
    (kept,) = list_stores(cache)
    assert kept.about["faces"] == {"found": 2, "second pass": 0, "fixed box": 1}
    assert kept.about["chip"] == "dlib"
    assert kept.find_damaged() == []
    assert open_store(photos, cache, [f"{side}.png" for side in SIDES]).how is None


def test_all_that_decides_a_chip_is_in_the_key(photos, cache):
    keys = {
        open_faces(photos, cache)[0].key,
        open_faces(photos, cache, chip="arcface")[0].key,
        open_faces(photos, cache, Corner(version="2"))[0].key,
        open_faces(photos, cache, size=SIZE + 1)[0].key,
        open_store(photos, cache, [f"{side}.png" for side in SIDES]).key,
    }
    assert len(keys) == 5


@pytest.mark.parametrize("place", ["pixels", "how"])
def test_a_damaged_store_of_faces_is_built_again(photos, cache, place):
    whole = all_pixels(open_faces(photos, cache)[0])

    def change(content):
        content[0 if place == "pixels" else -32 - 1] ^= 1
        return content

    damage(cache, change)
    (kept,) = list_stores(cache)
    assert kept.find_damaged() == [kept.path]
    told = []
    store, finder = open_faces(photos, cache, notice=told.append)
    np.testing.assert_array_equal(all_pixels(store), whole)
    assert (store.how.tolist(), finder.asked, len(told)) == ([0, 0, 0], 3, 1)
