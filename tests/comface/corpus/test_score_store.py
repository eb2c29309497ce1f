"""Scores beside a corpus: calibrated, written, read, tied to their corpus, drawn."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.score_store import (
    THRESHOLDS,
    Calibration,
    draw_histogram,
    identity_scores,
    read_quality,
    write_quality,
)
from comface_bench.comface.pretrain.faces import FaceDataset
from comface_bench.comface.pretrain.settings import load_preset
from comface_bench.core.errors import DataFormatError, DataMissingError, UnitError


def test_calibration_puts_the_median_at_a_half():
    robust = np.random.default_rng(1).normal(0.88, 0.01, 4001)
    scores = Calibration.fit(robust).apply(robust)
    assert scores.dtype == np.float32
    assert np.median(scores) == pytest.approx(0.5, abs=1e-6)
    assert np.quantile(scores, 0.9) == pytest.approx(0.8, abs=1e-3)
    assert np.array_equal(scores.argsort(), robust.argsort())


@pytest.mark.parametrize("others", [[], [0.5, 0.6, 0.7]])
def test_equal_images_have_no_scale(others):
    robust = np.array([0.9] * 60 + others, np.float32)
    with pytest.raises(UnitError, match="same robustness") as caught:
        Calibration.fit(robust)
    assert "synth sheets" in caught.value.hint


def test_scores_are_kept_beside_the_corpus(tmp_path, make_patches):
    root = make_patches(tmp_path / "corpus", 0, ("noise",), 8, alphas=11)
    with Corpus(root) as corpus:
        with pytest.raises(DataMissingError, match="synth quality"):
            read_quality(corpus, root)
        robust = np.random.default_rng(0).normal(0.88, 0.02, (8, 11)).astype(np.float32)
        report = write_quality(root, robust, {"passes": 5})
        scores = read_quality(corpus, root)
        assert np.array_equal(np.argsort(scores, axis=None), np.argsort(robust, axis=None))
        assert report["images"]["share_kept"]["0"] == 1.0
        assert report["images"]["share_kept"]["0.6"] == pytest.approx(np.mean(scores >= 0.6))
        assert sum(report["images"]["histogram"]["counts"]) == scores.size == report["images"]["count"]
        assert sum(report["identities"]["histogram"]["counts"]) == 8 == report["identities"]["count"]
        assert json.loads(Layout(root).quality_report.read_text())["passes"] == 5
        assert check_corpus(root) == []


def test_shares_of_identities_are_what_a_filter_keeps(tmp_path, patches, make_patches):
    """Several records of each identity; each threshold's share equals that of pretrain's people."""
    card = dataclasses.replace(patches.card, attributes=("noise", "more"))
    root = make_patches(tmp_path / "corpus", 0, card.attributes, 40, card=card, shared=True, alphas=4)
    random = np.random.default_rng(2)
    # People differ, and so do the images of each: shares of the two aren't the same.
    robust = random.normal(0.88, 0.01, (40, 1, 1)) + random.normal(0, 0.02, (40, 2, 4))
    report = write_quality(root, robust.reshape(80, 4).astype(np.float32), {})
    shares = report["identities"]["share_kept"]
    assert shares["0.6"] != report["images"]["share_kept"]["0.6"]
    settings = load_preset("laptop")
    for level in THRESHOLDS:
        chosen = dataclasses.replace(settings, min_quality=level, validation_share=0.5)
        assert FaceDataset([root], chosen).people == round(40 * shares[f"{level:g}"])
    with Corpus(root) as corpus:
        means, which = identity_scores(corpus, read_quality(corpus, root))
        assert np.array_equal(which, corpus.identities)
        scores = read_quality(corpus, root)
        assert means[5] == pytest.approx(np.concatenate([scores[10], scores[11]]).mean())


def _changed(array):
    array[0, 0] = 7
    return array


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: at.quality.write_bytes(b"x"), "not the scores"),
        (lambda at: np.save(at.quality, np.zeros((3, 3), np.float32)), "not the scores"),
        (lambda at: np.save(at.quality, _changed(np.load(at.quality))), "not the scores"),
        (lambda at: at.quality_report.unlink(), "missing"),
        (lambda at: at.quality_report.write_text("{}"), "not a report"),
        (lambda at: at.quality_report.write_text("["), "Expecting"),
    ],
)
def test_scores_that_were_changed_are_found(scored, spoil, said):
    layout = Layout(scored)
    assert check_corpus(scored) == []
    spoil(layout)
    (fault,) = check_corpus(scored)
    assert said in fault.message and "synth quality" in fault.hint
    with Corpus(scored) as corpus, pytest.raises(DataFormatError, match="quality") as caught:
        read_quality(corpus, scored)
    assert said in caught.value.message


def test_scores_are_tied_to_their_corpus(scored, tmp_path, make_patches):
    """Another corpus of the same shape doesn't take them."""
    other = make_patches(tmp_path / "other", 1, ("noise",), 3, alphas=4)
    for name in ("quality", "quality_report"):
        shutil.copy(getattr(Layout(scored), name), getattr(Layout(other), name))
    (fault,) = check_corpus(other)
    assert "not of this corpus" in fault.message
    with Corpus(other) as corpus, pytest.raises(DataFormatError, match="not of this corpus"):
        read_quality(corpus, other)
    Layout(scored).quality.unlink()
    Layout(scored).quality_report.unlink()
    assert check_corpus(scored) == []


def test_a_histogram_shows_identities_and_images(scored, tmp_path):
    pytest.importorskip("matplotlib")
    report = json.loads(Layout(scored).quality_report.read_text())
    draw_histogram(report, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 1000
