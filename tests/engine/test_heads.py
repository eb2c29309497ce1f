import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.engine import heads
from comface_bench.engine.heads import (
    HeadKind,
    LossKind,
    draw_head,
    join,
    loss_gradient,
    pair_loss,
    predict,
    score_pairs,
)


def score(
    kind: HeadKind, weights: torch.Tensor, features: torch.Tensor, x: list[int], y: list[int]
) -> np.ndarray:
    def gather(rows: np.ndarray) -> torch.Tensor:
        asked.extend(rows.tolist())
        return features[torch.from_numpy(rows)]

    asked: list[int] = []
    scores = score_pairs(kind, weights, gather, np.array(x, dtype=np.int64), np.array(y, dtype=np.int64))
    assert asked == sorted({*x, *y})  # each image once
    return scores


@given(seed=st.integers(0, 2**31), pairs=st.integers(1, 40), width=st.integers(1, 300))
def test_the_difference_head_is_exactly_antisymmetric(seed: int, pairs: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(2 * pairs, width, generator=random) * 100
    weight = torch.randn(width, generator=random)
    x, y = list(range(pairs)), list(range(pairs, 2 * pairs))
    forwards = score("difference", weight[None], features, x, y)
    backwards = score("difference", weight[None], features, y, x)
    assert np.array_equal(forwards, -backwards)
    first, second = features[:pairs], features[pairs:]
    assert torch.equal(
        predict("difference", weight, first, second), -predict("difference", weight, second, first)
    )


def test_a_score_is_the_dot_product_of_weight_and_change() -> None:
    features = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
    weights = torch.tensor([[0.5, 0.25], [1.0, 0.0]])
    assert score("difference", weights, features, [0], [1]).tolist() == [[0.5 * 3 + 0.25 * -2], [3]]
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]])
    assert score("concat", weights, features, [0, 1], [1, 1]).tolist() == [
        [1 + 4 + 12 + 0, 4 + 0 + 12 + 0],
        [1, 4],
    ]
    assert join("concat", features[:1], features[1:]).tolist() == [[1, 2, 4, 0]]


@pytest.mark.parametrize("kind", ["difference", "concat"])
def test_scores_in_blocks_equal_a_loop_over_pairs(kind: HeadKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_SCORE_BYTES", 1)  # blocks of 64
    random = np.random.default_rng(1)
    features = torch.from_numpy(random.normal(50, 3, (200, 30))).float()
    weights = torch.from_numpy(random.normal(0, 1, (5, 30 if kind == "difference" else 60))).float()
    x, y = random.integers(0, 200, (2, 300)).tolist()
    scores = score(kind, weights, features, x, y)
    for number, weight in enumerate(weights.double()):
        for pair, (a, b) in enumerate(zip(x, y, strict=True)):
            joined = join(kind, features[a].double(), features[b].double())
            assert scores[number, pair] == pytest.approx(float(joined @ weight), abs=1e-12 * 5000)


@pytest.mark.parametrize("kind", ["difference", "concat"])
def test_equal_features_give_exactly_one_answer(kind: HeadKind) -> None:
    # A collapsed backbone is told by it; within a matrix product, equal rows may differ in rounding.
    features = torch.full((150, 33), 0.1)
    weights = torch.randn(3, 33 if kind == "difference" else 66)
    scores = score(kind, weights, features, list(range(149)), list(range(1, 150)))
    assert (np.ptp(scores, axis=1) == 0).all()


@pytest.mark.parametrize("loss", ["l1", "l2", "smooth-l1"])
def test_gradients_equal_autograds(loss: LossKind) -> None:
    random = torch.Generator().manual_seed(2)
    inputs = torch.randn(3, 16, 20, generator=random, dtype=torch.float64)
    target = torch.randn(3, 16, 4, generator=random, dtype=torch.float64) * 3
    weights = torch.randn(3, 4, 20, generator=random, dtype=torch.float64) / 3
    inputs[0, 0], target[0, 0] = 0, 0  # the kink of l1
    weights.requires_grad_()
    pair_loss(loss, (weights[:, None] * inputs[:, :, None]).sum(-1), target).mean(dim=1).sum().backward()
    assert weights.grad is not None
    found = loss_gradient(loss, weights.detach(), inputs, target)
    assert torch.allclose(found, weights.grad, rtol=1e-12, atol=1e-13)


def test_a_drawn_head_is_like_a_fresh_linear_layer() -> None:
    drawn = draw_head("difference", 10_000, seed=3)
    bound = 1 / math.sqrt(10_000)
    assert drawn.abs().max() <= bound
    assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert torch.equal(drawn, draw_head("difference", 10_000, seed=3))
    assert not torch.equal(drawn, draw_head("difference", 10_000, seed=4))
    assert draw_head("concat", 5, seed=0).shape == (10,)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("l1", torch.nn.L1Loss()), ("l2", torch.nn.MSELoss()), ("smooth-l1", torch.nn.SmoothL1Loss())],
)
def test_losses_equal_torchs(kind: str, reference: torch.nn.Module) -> None:
    predicted, target = torch.randn(50) * 3, torch.randn(50) * 3
    assert torch.allclose(pair_loss(kind, predicted, target).mean(), reference(predicted, target))  # type: ignore[arg-type]
