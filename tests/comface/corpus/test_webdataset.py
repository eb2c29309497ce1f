"""Shards as other tools read them: each sample whole, with the same fields, and α beside its image."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus

FIELDS = [f"{place:03d}.png" for place in range(5)]


@pytest.fixture
def tars(corpus):
    layout = Layout(corpus)
    return [str(layout.tar(shard)) for shard in range(layout.read().shards)]


def pixels(picture):
    return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


def test_webdataset_yields_every_sample_whole(corpus, tars):
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    with Corpus(corpus) as opened:
        assert len(samples) == len(opened) == 12
        for number, sample in enumerate(samples):
            record, facts = opened.record(number), json.loads(sample["json"])
            assert sample["__key__"] == f"{number:08d}"
            assert sorted(name for name in sample if name.endswith(".png")) == FIELDS
            assert (facts["identity"], facts["attribute"]) == (record.identity, record.attribute)
            assert np.allclose(facts["alphas"], record.alphas)
            for place, field in enumerate(FIELDS):
                with Image.open(io.BytesIO(sample[field]), formats=["JPEG", "PNG"]) as picture:
                    assert np.array_equal(pixels(picture), opened.image(number, place))


def test_hugging_face_datasets_has_every_image(corpus, tars, tmp_path, monkeypatch):
    """It takes its columns from the first five samples: a field that isn't theirs would be left out."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    table = datasets.load_dataset(
        "webdataset", data_files=tars, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert set(table.column_names) == {*FIELDS, "json", "__key__", "__url__"}
    with Corpus(corpus) as opened:
        assert len(table) == 12
        for number, sample in enumerate(table):
            assert sample["__key__"] == f"{number:08d}"
            assert np.allclose(sample["json"]["alphas"], opened.record(number).alphas)
            for place, field in enumerate(FIELDS):
                assert np.array_equal(pixels(sample[field]), opened.image(number, place))
