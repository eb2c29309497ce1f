"""SER-FIQ: the formula against a plain loop in float64, and estimates of a corpus."""

import itertools
import math
from unittest import mock

import numpy as np
import pytest
import torch

from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality.recogniser import load_images
from comface_bench.comface.quality.serfiq import estimate_quality, robustness

SIDE = 32


def loop(embeddings):
    """Mean distance over the upper triangle, 2·sigmoid(−d), one image at a time."""
    found = []
    for image in np.transpose(embeddings.astype(np.float64), (1, 0, 2)):
        unit = [row / math.sqrt(sum(v * v for v in row)) for row in image]
        pairs = list(itertools.combinations(unit, 2))
        d = sum(math.sqrt(sum((a - b) ** 2 for a, b in zip(u, v, strict=True))) for u, v in pairs) / len(
            pairs
        )
        found.append(2 / (1 + math.exp(d)))
    return found


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0])
def test_robustness_is_the_published_formula(spread):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(1, 5, 16)) + spread * rng.normal(size=(7, 5, 16))
    found = robustness(torch.from_numpy(embeddings.astype(np.float32)))
    assert np.allclose(found.numpy(), loop(embeddings), atol=2e-6)


def test_an_embedding_that_stays_is_perfect():
    still = torch.ones(4, 3, 8)
    assert robustness(still).tolist() == [1.0, 1.0, 1.0]
    opposite = torch.stack([torch.ones(3, 8), -torch.ones(3, 8)])
    assert torch.allclose(robustness(opposite), torch.full((3,), 2 / (1 + math.exp(2))))


def test_a_face_lost_in_noise_scores_lower(root, trained):
    with Corpus(root) as corpus:
        robust = estimate_quality(corpus, trained, SIDE, passes=30)
    assert robust.shape == (8, 11)
    assert ((robust > 0) & (robust < 1)).all()
    assert robust[:, :3].mean() > robust[:, -3:].mean()


def test_a_record_can_be_estimated_alone(root, trained):
    with Corpus(root) as corpus:
        once, again = (estimate_quality(corpus, trained, SIDE, passes=5) for _ in range(2))
        images = load_images(corpus, [(3, index) for index in range(11)], SIDE)
        random = torch.Generator().manual_seed(3)
        alone = trained.repeat(trained.features(images), 5, random)
    assert np.array_equal(once, again)
    assert np.allclose(robustness(alone).numpy(), once[3], atol=1e-6)


def test_a_record_of_many_images_is_scored_like_any_other(root, trained):
    """Groups of records don't change what each is given."""
    with Corpus(root) as corpus:
        together = estimate_quality(corpus, trained, SIDE, passes=5)
        with mock.patch("comface_bench.comface.quality.serfiq._BATCH_SIZE", 1):
            alone = estimate_quality(corpus, trained, SIDE, passes=5)
    assert np.allclose(together, alone, atol=1e-6)
