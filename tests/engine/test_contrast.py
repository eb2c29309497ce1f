"""The weighted contrast against a float64 loop, and the network that follows with its queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.engine.contrast import Condition, MomentumContrast, weighted_contrast


def condition(after, weights):
    return Condition(torch.tensor(after), torch.tensor(weights, dtype=torch.float64))


def unit(random, *shape):
    drawn = random.normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def by_loop(queries, keys, own, others, bandwidth, temperature):
    """The mean loss and its gradient with respect to the queries, number by number."""
    total, gradient = 0.0, np.zeros_like(queries)
    for i, query in enumerate(queries):
        logits = [sum(a * b for a, b in zip(query, key, strict=True)) / temperature for key in keys]
        norm = math.log(sum(math.exp(logit) for logit in logits))
        counts = []
        for (after, kg), (other, other_kg) in (((own[i]), there) for there in others):
            close = 1.0 if bandwidth is None else math.exp(-(((kg - other_kg) / bandwidth) ** 2) / 2)
            counts.append(close if after == other else 0.0)
        share = [count / sum(counts) for count in counts]
        total -= sum(part * (logit - norm) for part, logit in zip(share, logits, strict=True))
        for key, part, logit in zip(keys, share, logits, strict=True):
            gradient[i] += (math.exp(logit - norm) - part) * key / temperature
    return total / len(queries), gradient / len(queries)


@pytest.mark.parametrize("bandwidth", [None, 0.7, 5.0])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_value_and_gradient_equal_a_loop(bandwidth, temperature):
    random = np.random.default_rng(3)
    queries, keys = unit(random, 6, 5), unit(random, 11, 5)
    states = [(bool(random.integers(2)), float(random.uniform(50, 56))) for _ in range(11)]
    others = condition([state for state, _ in states], [kg for _, kg in states])
    own = condition([state for state, _ in states[:6]], [kg for _, kg in states[:6]])
    leaf = torch.tensor(queries, requires_grad=True)
    positives = own.closeness(others, bandwidth)
    loss = weighted_contrast(leaf, torch.tensor(keys), positives, temperature)
    loss.backward()
    value, gradient = by_loop(queries, keys, states[:6], states, bandwidth, temperature)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=1e-9, atol=1e-13)


def test_positives_are_of_one_state_and_count_by_weight():
    own = condition([True, False], [60.0, 60.0])
    others = condition([True, True, False], [60.0, 65.0, 70.0])
    half = math.exp(-0.5)
    expected = [[1, half, 0], [0, 0, math.exp(-2)]]
    np.testing.assert_allclose(own.closeness(others, 5.0).numpy(), expected)
    assert own.closeness(others, None).tolist() == [[1, 1, 0], [0, 0, 1]]


def make(queue=5, momentum=0.75, seed=1):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    return MomentumContrast(encoder, 4, 3, momentum, queue, seed)


def step(contrast, seed, count=3):
    random = torch.Generator().manual_seed(seed)
    images, others = (torch.rand(count, 3, 2, 2, generator=random) for _ in range(2))
    own = Condition(torch.arange(count) % 2 == 0, torch.arange(count) + 10.0 * seed)
    quiet = torch.autocast("cpu", enabled=False)
    return contrast.loss(images, others, own, 5.0, 0.1, quiet), others


def test_the_copy_follows_and_only_the_network_learns():
    contrast = make()
    slow, fast = contrast.slow[0][1].weight, contrast.encoder[1].weight
    assert torch.equal(slow, fast)
    with torch.no_grad():
        fast.add_(1.0)
    before = slow.clone()
    loss, _ = step(contrast, 1)
    torch.testing.assert_close(slow, 0.75 * before + 0.25 * fast)
    loss.backward()
    assert all(parameter.grad is not None for parameter in contrast.trained())
    assert all(parameter.grad is None for parameter in contrast.slow.parameters())


def test_the_queue_holds_the_newest_keys_with_their_condition():
    contrast = make(momentum=0.999)
    step(contrast, 1)
    _, others = step(contrast, 2)
    expected = nn.functional.normalize(contrast.slow[1](contrast.slow[0](others)), dim=1)
    torch.testing.assert_close(contrast.keys[:3], expected)
    assert not contrast.keys.requires_grad
    assert contrast.condition.weights.tolist() == [20, 21, 22, 10, 11]
    assert contrast.condition.after.tolist() == [True, False, True, True, False]
    none = make(queue=0)
    step(none, 1)
    assert none.keys.shape == (0, 3)


def test_keys_of_earlier_steps_are_compared_with():
    with_queue, without = make(), make(queue=0)
    first = [step(contrast, 1)[0].item() for contrast in (with_queue, without)]
    second = [step(contrast, 1)[0].item() for contrast in (with_queue, without)]
    assert first[0] == first[1] == second[1]
    assert second[0] != second[1]


def test_a_state_is_all_that_the_next_step_needs():
    contrast = make()
    step(contrast, 1)
    again = make(seed=9)
    again.encoder.load_state_dict(contrast.encoder.state_dict())
    again.restore(contrast.state())
    assert step(again, 2)[0].item() == step(contrast, 2)[0].item()
