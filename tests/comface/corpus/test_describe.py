"""Statistics and contact sheets of a corpus."""

import numpy as np
import pytest
from PIL import Image

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import Plan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.sheets import attribute_sheet, write_sheets
from comface_bench.comface.corpus.statistics import describe_corpus
from comface_bench.comface.synthesis.generator import GeneratorCard
from comface_bench.core.errors import UsageError


class Grey:
    """Plain grey images: 100 + 10·α for `light`, 100 for `none`."""

    card = GeneratorCard("grey", 4, ("light", "none"), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return list(range(first, first + count))

    def render(self, identity, attribute, alphas):
        levels = [100 + (10 * alpha if attribute == "light" else 0) for alpha in alphas]
        return np.stack([np.full((3, 4, 4), round(level), np.uint8) for level in levels])


@pytest.fixture
def opened(tmp_path):
    plan = Plan(0, ("light", "none"), 3, alphas=101)
    generate(tmp_path / "grey", Grey, Description.of(Grey.card, plan, suffix="png"))
    with Corpus(tmp_path / "grey") as corpus:
        yield corpus


def test_statistics_are_of_the_pictures(opened):
    light, none = describe_corpus(opened)
    assert (light.attribute, light.records, light.images, light.pairs) == ("light", 3, 303, 150)
    assert light.brightness == 100 and light.change == 100 and light.near == 1
    assert none.change == 0 and none.brightness == 100
    assert light.kilobytes == pytest.approx(len(opened.read(0, 50)) / 1000)


def test_a_sheet_has_people_down_and_alpha_across(opened, tmp_path):
    sheet = attribute_sheet(opened, "light", rows=2, columns=11)
    assert sheet.shape == (8, 44, 3)
    assert sheet[1, 2::4, 0].tolist() == [50 + 10 * step for step in range(11)]
    files = write_sheets(opened, tmp_path / "sheets", rows=9, columns=3)
    assert [path.name for path in files] == ["light.jpg", "none.jpg"]
    with Image.open(files[0]) as image:
        assert image.size == (12, 12)


def test_an_attribute_that_is_not_there(opened):
    with pytest.raises(UsageError, match="no attribute 'age'"):
        attribute_sheet(opened, "age")
    with pytest.raises(UsageError, match="Did you mean light"):
        attribute_sheet(opened, "Light")
