import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.engine.heads import draw_head, join, pair_loss, predict, score


@given(seed=st.integers(0, 2**31), pairs=st.integers(1, 40), width=st.integers(1, 300))
def test_the_difference_head_is_exactly_antisymmetric(seed: int, pairs: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(pairs, width, generator=random) * 100 for _ in range(2))
    weight = torch.randn(width, generator=random)
    assert torch.equal(
        score("difference", weight, first, second), -score("difference", weight, second, first)
    )
    assert torch.equal(
        predict("difference", weight, first, second), -predict("difference", weight, second, first)
    )


def test_a_score_is_the_dot_product_of_weight_and_change() -> None:
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 0.0]])
    weight = torch.tensor([0.5, 0.25])
    assert score("difference", weight, first, second).tolist() == [0.5 * 3 + 0.25 * -2]
    assert score("concat", torch.tensor([1.0, 2.0, 3.0, 4.0]), first, second).tolist() == [1 + 4 + 12 + 0]
    assert join("concat", first, second).tolist() == [[1, 2, 4, 0]]


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
