"""What a check finds, and what reading refuses."""

import json
import pickle

import numpy as np
import pytest

from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus
from comface_bench.core.errors import DataFormatError


@pytest.fixture
def corpus(tmp_path, generator, describe):
    generate(tmp_path / "corpus", lambda: generator, describe())
    return tmp_path / "corpus"


def test_any_changed_byte_is_found(corpus):
    layout, random = Layout(corpus), np.random.default_rng(1)
    files = [layout.tar(0), layout.records(1), layout.images(2), layout.done(1)]
    for path in files:
        data = path.read_bytes()
        for place in random.integers(0, len(data), 12):
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(random.integers(8))
            path.write_bytes(flipped)
            assert check_corpus(corpus), (path, place)
        path.write_bytes(data)
    assert check_corpus(corpus) == []


def test_pictures_that_are_none(corpus, tmp_path, generator, describe):
    class Blank(type(generator)):
        def render(self, identity, attribute, alphas):
            images = super().render(identity, attribute, alphas)
            images[1] = 7
            return images

    generate(tmp_path / "blank", Blank, describe())
    assert check_corpus(tmp_path / "blank") == []
    faults = check_corpus(tmp_path / "blank", pictures=True)
    assert len(faults) == 12 and "a single colour" in faults[0].message


def test_files_that_are_not_the_corpus_s(corpus):
    (corpus / "shards" / "notes.txt").write_text("mine")
    (fault,) = check_corpus(corpus)
    assert fault.path.name == "notes.txt"


def test_a_shard_cut_short_is_said_by_name(corpus):
    layout = Layout(corpus)
    layout.tar(1).write_bytes(layout.tar(1).read_bytes()[:4000])
    with Corpus(corpus) as opened, pytest.raises(DataFormatError, match=r"00001\.tar: cut short"):
        opened.read(9, 4)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_an_index_that_is_none(corpus, data):
    Layout(corpus).records(0).write_bytes(data)
    with pytest.raises(DataFormatError, match="records"):
        Corpus(corpus)


def test_an_index_of_objects_is_not_unpickled(corpus):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(Layout(corpus).records(0), np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(DataFormatError):
        Corpus(corpus)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"plan": {}}, {"plan": {"seed": 1}}, {"colour": 1}, {"generator": None, "plan": 3}],
)
def test_a_description_that_is_none(corpus, change):
    path = Layout(corpus).description
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataFormatError, match=r"corpus\.json"):
        Corpus(corpus)


def test_a_corpus_is_pickled_as_its_folder(corpus):
    with Corpus(corpus) as opened:
        again = pickle.loads(pickle.dumps(opened))
        assert again.read(11, 3) == opened.read(11, 3)
        again.close()


@pytest.mark.parametrize("place", [(12, 0), (-1, 0), (0, 5), (0, -1)])
def test_no_such_image(corpus, place):
    with Corpus(corpus) as opened, pytest.raises(IndexError):
        opened.read(*place)
