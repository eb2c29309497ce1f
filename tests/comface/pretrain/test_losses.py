"""The losses against plain float64 loops written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.comface.pretrain.step import change_loss, contrastive_loss


def loop(projections, identities, temperature):
    """NT-Xent, image by image: the partner against everybody of another identity."""
    z, count = projections.astype(np.float64), len(identities)
    people, total = [*identities, *identities], 0.0
    for i in range(2 * count):
        partner = i + count if i < count else i - count
        attracted = math.exp(z[i] @ z[partner] / temperature)
        repelled = sum(
            math.exp(z[i] @ z[j] / temperature) for j in range(2 * count) if people[j] != people[i]
        )
        total -= math.log(attracted / (attracted + repelled))
    return total / (2 * count)


def unit(random, count, width):
    values = random.normal(size=(2 * count, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@given(
    identities=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    temperature=st.floats(0.05, 2.0),
    seed=st.integers(0, 999),
)
def test_contrast_is_that_of_a_loop(identities, temperature, seed):
    projections = unit(np.random.default_rng(seed), len(identities), 5)
    found = contrastive_loss(torch.from_numpy(projections), torch.tensor(identities), temperature)
    assert float(found) == pytest.approx(loop(projections, identities, temperature), rel=1e-9, abs=1e-12)


def test_gradient_of_contrast_is_that_of_differences():
    random, identities = np.random.default_rng(1), torch.tensor([0, 1, 0, 2])
    leaf = torch.from_numpy(unit(random, 4, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: contrastive_loss(z, identities, 0.2), (leaf,))


def test_images_of_the_same_person_are_neither_partner_nor_stranger():
    z = torch.from_numpy(unit(np.random.default_rng(2), 3, 4))
    moved = z.clone()
    moved[1] = torch.nn.functional.normalize(torch.ones(4, dtype=torch.float64), dim=0)
    one_person = torch.tensor([7, 7, 7])
    assert float(contrastive_loss(z, one_person, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert float(contrastive_loss(moved, one_person, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert float(contrastive_loss(z, torch.tensor([0, 1, 2]), 0.1)) > 0.01


def test_telling_people_apart_lowers_the_contrast():
    apart = torch.eye(4).repeat(2, 1)
    alike = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    people = torch.arange(4)
    assert float(contrastive_loss(apart, people, 0.1)) < 0.01
    assert float(contrastive_loss(alike, people, 0.1)) == pytest.approx(math.log(7), rel=1e-5)  # 1 of 1 + 6


@pytest.mark.parametrize("heads", [1, 2])
def test_measure_is_mean_absolute_error_over_the_scale(heads):
    random = np.random.default_rng(3)
    predicted, change = random.normal(size=(6, heads)), random.uniform(-10, 10, 6)
    expected = np.mean([abs(p - c / 5) for row, c in zip(predicted, change, strict=True) for p in row])
    found = change_loss(torch.from_numpy(predicted), torch.from_numpy(change), 5.0)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    if heads == 1:
        assert float(change_loss(torch.from_numpy(predicted[:, 0]), torch.from_numpy(change), 5.0)) == float(
            found
        )
