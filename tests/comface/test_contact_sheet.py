"""Contact sheets of a corpus; those of labels are in synthesis/test_synthfaces.py."""

import numpy as np
import pytest
from PIL import Image

from comface_bench.comface.contact_sheet import attribute_sheet, draw_captions, write_attribute_sheets
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.core.errors import UsageError


def test_a_sheet_has_people_down_and_alpha_across(grey_corpus):
    sheet = attribute_sheet(grey_corpus, "light", rows=2, columns=11)
    assert sheet.faces.shape == (8, 44, 3)
    assert sheet.faces[1, 2::4, 0].tolist() == [50 + 10 * step for step in range(11)]
    assert sheet.columns.tolist() == list(range(-5, 6))
    assert (sheet.alphas == sheet.columns).all()
    assert sheet.people.tolist() == [0, 2]


def test_a_sheet_says_what_it_shows(grey_corpus, tmp_path):
    files = write_attribute_sheets(grey_corpus, tmp_path / "sheets", rows=9, columns=3)
    assert [path.name for path in files] == ["light.jpg", "none.jpg"]
    with Image.open(files[0], formats=["JPEG", "PNG"]) as image:
        light = np.asarray(image.convert("L")).astype(int)
    # Three faces of 64 pixels, which tiny ones are enlarged to, below and beside captions of 44.
    assert light.shape == (44 + 3 * 64, 44 + 3 * 64)
    assert np.abs(light[44:, 44:][32::64, 32::64] - [50, 100, 150]).max() <= 2
    assert light[:22].min() < 100 and light[22:44].min() < 100 and light[44:, :44].min() < 100
    with Image.open(files[1], formats=["JPEG", "PNG"]) as image:
        none = np.asarray(image.convert("L")).astype(int)
    assert np.abs(light[:22] - none[:22]).max() > 100, "another name"
    assert np.abs(light[26:44] - none[26:44]).max() < 30, "the same α"


def test_rows_that_lack_a_column_s_alpha_say_their_own(tmp_path, grey_generator):
    plan = CorpusPlan(0, ("light",), 4, alphas=20)
    generate(tmp_path / "few", grey_generator, Description.of(grey_generator.card, plan, suffix="png"))
    with Corpus(tmp_path / "few") as corpus:
        sheet = attribute_sheet(corpus, "light", rows=4, columns=6)
        drawn = [corpus.record(number).alphas for number in range(4)]
    assert sheet.columns.tolist() == [-5, -3, -1, 1, 3, 5]
    for own, shown in zip(drawn, sheet.alphas, strict=True):
        for column, alpha in zip(sheet.columns, shown, strict=True):
            assert alpha in own and abs(alpha - column) == np.abs(own - column).min()
            assert alpha == column or column not in own
    odd = sheet.alphas != sheet.columns
    assert odd.any() and not odd.all()
    page = draw_captions(sheet)
    labelled = [
        [
            (page[44 + 64 * row : 108 + 64 * row, 44 + 64 * n : 108 + 64 * n] == (255, 220, 90)).all(2).any()
            for n in range(6)
        ]
        for row in range(4)
    ]
    assert np.array_equal(labelled, odd)


def test_a_grid_without_zero_has_a_column_beside_it(tmp_path, grey_generator):
    plan = CorpusPlan(0, ("light",), 2, alphas=100, zero=False)
    generate(tmp_path / "grid", grey_generator, Description.of(grey_generator.card, plan, suffix="png"))
    with Corpus(tmp_path / "grid") as corpus:
        sheet = attribute_sheet(corpus, "light", columns=11)
    assert np.abs(sheet.columns[5]) == np.float32(0.1)
    assert (sheet.alphas == sheet.columns).all()


def test_an_attribute_that_is_not_there(grey_corpus):
    with pytest.raises(UsageError, match="no attribute 'age'"):
        attribute_sheet(grey_corpus, "age")
    with pytest.raises(UsageError, match="Did you mean light"):
        attribute_sheet(grey_corpus, "Light")
