"""Photographs beside those of a data set: what is refused, and what isn't."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comface_bench.data.image_file import read_image
from comface_bench.data.photos import SAMPLE, PhotoFacts, describe_photos, find_unlike

DrawImage = Callable[..., Path]
COLOURED = PhotoFacts(images=4, shorter_side=100, grey=0.0)


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(read_image(path))


@dataclass
class Box:
    width: float


class Finder:
    def __init__(self, *widths: float) -> None:
        self._boxes = [Box(width) for width in widths]

    def detect(self, rgb: np.ndarray) -> list[Box]:
        assert rgb.dtype == np.uint8 and rgb.shape[2] == 3
        return self._boxes


def test_facts_are_of_the_pictures(tmp_path: Path, draw_image: DrawImage) -> None:
    sizes = [(30, 40), (50, 20), (25, 25), (60, 60)]
    modes = ["RGB", "L", "RGB", "RGB"]
    names = [f"{place}.png" for place in range(4)]
    for place, name in enumerate(names):
        draw_image(tmp_path / name, place, sizes[place], modes[place])
    assert describe_photos(tmp_path, names) == PhotoFacts(images=4, shorter_side=20, grey=0.25)


def test_of_many_pictures_a_few_are_read_from_first_to_last(tmp_path: Path, draw_image: DrawImage) -> None:
    draw_image(tmp_path / "a.png", 0, (9, 9))
    draw_image(tmp_path / "z.png", 0, (5, 9))
    names = ["a.png"] * 999 + ["z.png"]
    assert describe_photos(tmp_path, names) == PhotoFacts(images=SAMPLE, shorter_side=5, grey=0.0)


@pytest.mark.parametrize(
    ("size", "mode", "facts", "finder", "said"),
    [
        ((100, 120), "RGB", COLOURED, None, ""),
        ((50, 400), "RGB", COLOURED, None, ""),
        ((49, 400), "RGB", COLOURED, None, "has 49 × 400 pixels; those of the task have 100 or more"),
        ((100, 100), "L", COLOURED, None, "is grey"),
        ((100, 100), "L", PhotoFacts(4, 100, 0.25), None, ""),
        ((100, 100), "RGB", COLOURED, Finder(), "no face"),
        ((100, 200), "RGB", COLOURED, Finder(20), ""),
        ((100, 200), "RGB", COLOURED, Finder(19), "a face of 19 pixels in 100 × 200"),
        ((100, 200), "RGB", COLOURED, Finder(60, 10), ""),
    ],
)
def test_a_picture_unlike_the_task_is_told(
    size: tuple[int, int],
    mode: str,
    facts: PhotoFacts,
    finder: Finder | None,
    said: str,
    tmp_path: Path,
    draw_image: DrawImage,
) -> None:
    found = find_unlike(pixels_of(draw_image(tmp_path / "p.png", 1, size, mode)), facts, finder)
    assert (said in found) if said else found == ""


def test_a_small_face_is_fine_where_faces_are_cut_out(tmp_path: Path, draw_image: DrawImage) -> None:
    path = draw_image(tmp_path / "p.png", 1, (100, 200), "RGB")
    assert find_unlike(pixels_of(path), COLOURED, Finder(19), aligned=True) == ""
    assert "no face" in find_unlike(pixels_of(path), COLOURED, Finder(), aligned=True)


def test_a_grey_photograph_saved_in_colour_is_grey(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (120, 120, 1)).repeat(3, axis=2)
    path = tmp_path / "grey.jpg"
    Image.fromarray(grey.astype(np.uint8)).save(path, quality=60)
    assert "is grey" in find_unlike(pixels_of(path), COLOURED, None)
