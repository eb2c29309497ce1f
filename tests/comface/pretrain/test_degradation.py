"""Degradations: each against SciPy or a formula, all a function of the image, its key and its view."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from comface_bench.comface.pretrain import degradation
from comface_bench.comface.pretrain.degradation import (
    add_grain,
    adjust_gamma,
    blur,
    degrade,
    light_from_one_side,
    rotate,
    tint,
)

SIDE = 41


@pytest.fixture
def pictures():
    noise = np.random.default_rng(0).uniform(size=(4, 3, SIDE, SIDE))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 2, 2))).float().clamp(0, 1)


def keys(count):
    return np.arange(100, 100 + count, dtype=np.uint64), np.zeros(count, np.int64)


def test_rotation_is_scipys(pictures):
    degrees = np.array([0.0, 10.0, -20.0, 90.0])
    turned = rotate(pictures.double(), degrees).numpy()
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    inside = np.hypot(rows, columns) < SIDE / 2 - 2
    for picture, found, angle in zip(pictures.numpy(), turned, degrees, strict=True):
        for channel, result in zip(picture, found, strict=True):
            expected = ndimage.rotate(channel.astype(float), -angle, reshape=False, order=1)
            assert np.allclose(result[inside], expected[inside], atol=1e-6)


def test_corners_that_turn_in_are_no_black_ones():
    assert rotate(torch.full((3, 3, 20, 20), 0.7), np.array([20.0, -7.0, 45.0])).min() > 0.699


def test_blur_is_scipys_away_from_the_edges(pictures):
    deviation = np.array([0.0, 0.01, 0.02, 0.03])
    found = blur(pictures.double(), deviation).numpy()
    for picture, result, sigma in zip(pictures.numpy(), found, deviation * SIDE, strict=True):
        expected = ndimage.gaussian_filter(picture.astype(float), (0, sigma, sigma), truncate=9)
        inside = slice(8, -8)
        assert np.allclose(result[:, inside, inside], expected[:, inside, inside], atol=1e-6)


def test_blur_keeps_a_plain_picture_plain():
    plain = torch.full((2, 3, 16, 16), 0.4)
    assert torch.allclose(blur(plain, np.array([0.1, 0.01])), plain)


def test_light_falls_off_from_where_it_stands():
    lit = light_from_one_side(
        torch.full((3, 3, 21, 21), 0.5), np.array([0.8, 0.8, 0.0]), np.array([0, math.pi / 2, 1.0])
    )
    assert lit[0, 0, 0, 20] / lit[0, 0, 0, 0] == pytest.approx(math.exp(1.6), rel=1e-5)
    assert lit[1, 0, 20, 0] / lit[1, 0, 0, 0] == pytest.approx(math.exp(1.6), rel=1e-5)
    assert lit[0, 0, 10, 10] == pytest.approx(0.5 * math.exp(-0.4), rel=1e-5)
    assert torch.equal(lit[2], torch.full((3, 21, 21), 0.5))


def test_tones_and_tints(pictures):
    faded = adjust_gamma(pictures.clone(), np.array([0.5, 1, 2, 1.5]))
    assert torch.allclose(faded[0], pictures[0].sqrt())
    assert torch.allclose(faded[2], pictures[2].square())
    gains = np.array([[1.2, 1, 0.8]]).repeat(4, axis=0)
    expected = (pictures * torch.tensor([1.2, 1, 0.8]).view(1, 3, 1, 1)).clamp(0, 1)
    assert torch.allclose(tint(pictures.clone(), gains), expected)


def test_grain_has_its_deviation_and_differs():
    gray = torch.full((3, 3, 200, 200), 0.5)
    noise = add_grain(gray, np.array([0.0, 0.02, 0.04]), np.array([[0, 0], [0.1, 0.9], [0.5, 0.2]])) - 0.5
    assert noise.std(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0.02, 0.04], rel=0.03)
    assert torch.equal(noise[:, 0], noise[:, 2])
    assert abs(float(torch.corrcoef(noise[1:, 0].flatten(1))[0, 1])) < 0.02


def test_a_pictures_view_is_its_own(pictures):
    together = degrade(pictures.clone(), 3, *keys(4))
    for row in range(4):
        numbers, views = keys(4)
        alone = degrade(pictures[row : row + 1].clone(), 3, numbers[row : row + 1], views[:1])
        assert torch.allclose(alone[0], together[row], atol=1e-5)
    assert torch.equal(degrade(pictures.clone(), 3, *keys(4)), together)
    assert together.min() >= 0 and together.max() <= 1
    for seed, epoch in ((4, 0), (3, 1)):
        other = degrade(pictures.clone(), seed, keys(4)[0], np.full(4, epoch, np.int64))
        assert not torch.allclose(other, together, atol=1e-2)


def test_as_many_are_changed_as_declared(monkeypatch):
    seen = {}
    for name in ("rotate", "light_from_one_side", "adjust_gamma", "blur", "tint", "add_grain"):

        def note(images, amounts, *rest, name=name):
            seen[name] = amounts
            return images

        monkeypatch.setattr(degradation, name, note)
    colours = torch.rand(2000, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    result = degrade(colours.clone(), 0, *keys(2000))
    gray = (result[:, 0] == result[:, 1]).float().mean()
    assert float(gray) == pytest.approx(degradation.GRAY, abs=0.04)
    bounds = {
        "rotate": (-degradation.TURN, degradation.TURN),
        "light_from_one_side": (0, degradation.LIGHT),
        "adjust_gamma": (1 / degradation.GAMMA, degradation.GAMMA),
        "blur": (0, degradation.BLUR),
        "tint": (1 - degradation.TINT, 1 + degradation.TINT),
        "add_grain": (0, degradation.GRAIN),
    }
    for name, (low, high) in bounds.items():
        neutral = 1 if name in ("adjust_gamma", "tint") else 0
        changed = seen[name][seen[name] != neutral]
        assert len(changed) / (2000 * (3 if name == "tint" else 1)) == pytest.approx(
            degradation.SHARE, abs=0.04
        )
        assert low <= changed.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < changed.max() <= high
