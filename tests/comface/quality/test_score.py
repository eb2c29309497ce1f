"""SER-FIQ's formula against a plain loop in float64."""

import itertools
import math

import numpy as np
import pytest
import torch

from comface_bench.comface.quality.score_store import Calibration
from comface_bench.comface.quality.serfiq import robustness
from comface_bench.core.errors import UnitError


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
