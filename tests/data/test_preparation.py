"""Preparation of single pictures: the pixels are those of a run."""

import numpy as np
import pytest
import torch
from PIL import Image

from comface_bench.core.errors import DataMissingError, UsageError
from comface_bench.core.protocol import resolve_protocol
from comface_bench.data import preparation
from comface_bench.data.alignment import cut_middle
from comface_bench.data.augment import resize
from comface_bench.data.image_file import UnreadableImageError
from comface_bench.data.image_store import decode_face, open_shown, stored_size
from comface_bench.data.manifest import Manifest
from comface_bench.data.preparation import Preparation


@pytest.fixture
def table(draw_image, tmp_path):
    """Pictures of several forms, one of them lying on its side."""
    draw_image(tmp_path / "a.jpg", 1, (40, 30))
    draw_image(tmp_path / "b.png", 2, (30, 50), mode="L")
    draw_image(tmp_path / "c.png", 3, (17, 90), mode="P")
    lying = Image.open(draw_image(tmp_path / "plain.png", 4, (60, 33)), formats=["PNG"])
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "d.jpg", exif=exif)
    names = ["a.jpg", "b.png", "c.png", "d.jpg"]
    return Manifest.from_rows("faces", tmp_path, [{"image": name, "subject": "1"} for name in names])


@pytest.mark.parametrize("options", [{}, {"resize": "crop"}, {"image_size": "21"}], ids=str)
def test_pixels_are_those_of_a_run(table, tmp_path, options):
    protocol = resolve_protocol("probe", "age", {"image_size": "32", **options})
    store = open_shown(table, protocol, cache=tmp_path / "cache")
    shown = resize(store.gather(np.arange(len(table))), protocol.image_size)
    prepare = Preparation(protocol.image_size, protocol.resize)
    for row, name in enumerate(table.images):
        torch.testing.assert_close(prepare.load(table.root / name), shown[row], rtol=0, atol=1e-7)
        opened = Image.open(table.root / name, formats=["JPEG", "PNG"])
        assert torch.equal(prepare(opened), prepare.load(table.root / name))
        assert opened.size == Image.open(table.root / name, formats=["JPEG", "PNG"]).size, (
            "the picture stays as it is"
        )
    assert shown.shape == (4, 3, protocol.image_size, protocol.image_size)


@pytest.mark.parametrize("values", [{"image_size": 0}, {"resize": "pad"}, {"align": "six-points"}])
def test_other_values_are_refused(values):
    with pytest.raises(UsageError, match="isn't"):
        Preparation(**values)


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"one of Pillow's, not ndarray\nOf a file"):
        Preparation()(np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(DataMissingError, match="there is no picture"):
        Preparation().load(tmp_path / "none.jpg")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    with pytest.raises(UnreadableImageError, match="shows a single colour"):
        Preparation().load(tmp_path / "red.png")
    with pytest.raises(UnreadableImageError, match="mode I;16"):
        Preparation()(Image.new("I;16", (8, 8)))
    with pytest.raises(UnreadableImageError, match="from La to"):
        Preparation()(Image.new("La", (8, 8)))


def test_a_picture_that_is_cut_off_is_refused(draw_image, tmp_path):
    whole = draw_image(tmp_path / "a.jpg", 1, (64, 64)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImageError, match=r"cut.jpg can't be decoded"):
        Preparation(16)(Image.open(tmp_path / "cut.jpg", formats=["JPEG"]))


def test_faces_are_cut_out_by_the_chip_of_the_encoder(table, tmp_path, monkeypatch):
    asked = []

    class Middle:
        def align(self, image, size):
            return cut_middle(image, size), 2

        def describe(self):
            return {}

    def open_aligner(chip):
        asked.append(chip)
        return Middle()

    monkeypatch.setattr(preparation, "open_aligner", open_aligner)
    prepare = Preparation(16, align="five-points", chip="arcface")
    stored, _ = decode_face(table.root, "a.jpg", stored_size(16), Middle())
    shown = resize(torch.from_numpy(stored.copy())[None], 16)[0]
    assert torch.equal(prepare.load(table.root / "a.jpg"), shown)
    assert not torch.equal(Preparation(16).load(table.root / "a.jpg"), shown)
    prepare.load(table.root / "b.png")
    assert asked == ["arcface"], "the detector is opened once"
