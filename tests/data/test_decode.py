import numpy as np
import pytest
from PIL import Image, ImageFile

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.data.decode import decode_image

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
    expected = Image.open(path).convert("RGB").resize((12, 12), BILINEAR)
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
    Image.new("RGB", (5000, 1), (1, 2, 3)).save(tmp_path / "strip.png")
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
    with pytest.raises(DataFormatError, match=rf"in/cut\.{suffix} can't be decoded") as caught:
        decode_image(tmp_path, f"in/cut.{suffix}", 8, "squash")
    assert caught.value.hint


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("page.jpg", "folder.jpg"):
        with pytest.raises(DataFormatError, match=name):
            decode_image(tmp_path, name, 8, "squash")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"no image a/b\.png") as caught:
        decode_image(tmp_path, "a/b.png", 8, "squash")
    assert "--data" in caught.value.hint
