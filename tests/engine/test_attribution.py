"""Which regions an answer comes from: networks of one corner, loops in float64, gradients by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comface_bench.core.errors import UnitError, UsageError
from comface_bench.engine import attribution
from comface_bench.engine.attribution import Windows, blur, integrate_gradients, occlude

SIZE = 20


def random_images(count: int = 2, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3))


def corner(images: Tensor) -> Tensor:
    """A network that sees the lower left corner of 6 × 6 pixels alone."""
    seen = images[:, :, -6:, :6]
    return (seen.square() * torch.linspace(-1, 2, 6)).sum(dim=(1, 2, 3))


def bend(images: Tensor) -> Tensor:
    """A network of every pixel, in float64."""
    weights = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (images.double() * weights).sum(dim=(1, 2, 3)).tanh() + images.double().square().mean(
        dim=(1, 2, 3)
    )


@pytest.mark.parametrize(
    ("height", "width", "window", "stride", "side", "rows", "columns"),
    [
        (20, 20, 0.2, 0.1, 4, (*range(0, 16, 2), 16), (*range(0, 16, 2), 16)),
        (10, 10, 0.3, 0.3, 3, (0, 3, 6, 7), (0, 3, 6, 7)),
        (10, 15, 0.5, 0.5, 5, (0, 5), (0, 5, 10)),
        (10, 10, 0.5, 0.2, 4, (0, 2, 4, 6), (0, 2, 4, 6)),
        (7, 7, 1.0, 0.6, 7, (0,), (0,)),
        (4, 4, 0.01, 0.01, 1, (0, 1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_windows_lie_over_every_pixel(
    height: int, width: int, window: float, stride: float, side: int, rows: object, columns: object
) -> None:
    windows = Windows.over(height, width, window, stride)
    assert (windows.side, windows.rows, windows.columns) == (side, rows, columns)
    seen = np.zeros((height, width), int)
    for down, across in windows.slices():
        assert seen[down, across].shape == (side, side)
        seen[down, across] += 1
    assert (seen > 0).all()


@pytest.mark.parametrize(
    ("window", "stride", "said"),
    [
        (0.0, 0.1, "a window of 0"),
        (1.1, 0.1, "a window of 1.1"),
        (float("nan"), 0.1, "a window of nan"),
        (0.2, 0.3, "a stride of 0.3"),
        (0.2, 0.0, "a stride of 0"),
    ],
)
def test_shares_are_checked(window: float, stride: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Windows.over(10, 10, window, stride)


def test_a_network_of_one_corner_lights_that_corner_alone() -> None:
    images, windows = random_images(), Windows.over(SIZE, SIZE, 0.2, 0.1)
    effects = occlude(images, corner, windows)
    touching = np.array([[top + 4 > 14 and left < 6 for left in windows.columns] for top in windows.rows])
    assert (effects[:, ~touching] == 0).all()
    assert (np.abs(effects[:, touching]) > 1e-3).all()
    pixels = integrate_gradients(images, corner, blur(images, windows.side))
    inside = np.zeros((SIZE, SIZE), bool)
    inside[-6:, :6] = True
    assert (pixels[:, ~inside] == 0).all()
    assert (pixels[:, inside] != 0).mean() > 0.99
    # A window's side at most beyond the corner, and strongest in it.
    for maps in (windows.spread(effects), windows.spread(windows.sum(pixels))):
        assert (maps[:, :11] == 0).all() and (maps[:, :, 9:] == 0).all()
        for one in np.abs(maps):
            assert inside[np.unravel_index(one.argmax(), one.shape)]


def test_a_region_that_raises_the_answer_is_above_zero() -> None:
    images = torch.full((1, 3, SIZE, SIZE), 0.5)
    images[0, :, 4, 4], images[0, :, 14, 14] = 1, 0
    windows = Windows.over(SIZE, SIZE, 0.2, 0.2)

    def bright(shown: Tensor) -> Tensor:
        return shown[:, :, 4, 4].sum(dim=1) + shown[:, :, 14, 14].sum(dim=1)

    for effects in (
        occlude(images, bright, windows),
        windows.sum(integrate_gradients(images, bright, blur(images, windows.side))),
    ):
        assert effects[0, 1, 1] > 0.5 and effects[0, 3, 3] < -0.5
        effects[0, 1, 1] = effects[0, 3, 3] = 0
        assert (effects == 0).all()


@pytest.mark.parametrize("count", [1, 3])
def test_effects_and_maps_are_those_of_a_loop(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "BATCH", 8)
    images, windows = random_images(count, 12, 16), Windows.over(12, 16, 0.4, 0.25)
    fill = random_images(2 * count, 12, 16)[count:]
    asked: list[int] = []
    before = images.clone()

    def answer(shown: Tensor) -> Tensor:
        assert len(shown) <= 8 and not torch.is_grad_enabled()
        return bend(shown)

    effects = occlude(images, answer, windows, fill, asked.append)
    assert torch.equal(images, before)
    assert sum(asked) == count * len(windows.slices())
    maps = windows.spread(effects)
    for number in range(count):
        total, times = np.zeros((12, 16)), np.zeros((12, 16))
        for row, top in enumerate(windows.rows):
            for column, left in enumerate(windows.columns):
                hidden = images[number].clone()
                for y in range(top, top + windows.side):
                    for x in range(left, left + windows.side):
                        hidden[:, y, x] = fill[number, :, y, x]
                effect = float(bend(images[number][None]) - bend(hidden[None]))
                assert effects[number, row, column] == pytest.approx(effect, abs=1e-12)
                total[top : top + windows.side, left : left + windows.side] += effect
                times[top : top + windows.side, left : left + windows.side] += 1
        np.testing.assert_allclose(maps[number], total / times, rtol=0, atol=1e-12)


def test_gradients_of_a_linear_network_are_its_weights() -> None:
    images, baseline = random_images().double(), random_images(4).double()[2:]
    weights = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def answer(shown: Tensor) -> Tensor:
        return (shown * weights).sum(dim=(1, 2, 3))

    found = integrate_gradients(images, answer, baseline)
    expected = (weights * (images - baseline)).sum(dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    # Hiding a window takes exactly the sum of its pixels.
    windows = Windows.over(SIZE, SIZE, 0.3, 0.15)
    np.testing.assert_allclose(
        windows.sum(found), occlude(images, answer, windows, baseline), rtol=0, atol=1e-10
    )


def test_gradients_of_a_bent_network_are_the_integral() -> None:
    images, baseline = random_images(1).double(), torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float64)
    # Along the way the gradient of Σ x³ is 3 (t x)², whose integral is x².
    found = integrate_gradients(images, lambda shown: shown.pow(3).sum(dim=(1, 2, 3)), baseline, steps=400)
    np.testing.assert_allclose(found, images.pow(3).sum(dim=1).numpy(), rtol=1e-5)


def test_gradients_sum_to_the_answer_less_that_of_the_baseline(make_encoder: Callable[[], nn.Module]) -> None:
    network = make_encoder().eval().requires_grad_(False)
    images = random_images(3)
    baseline, asked = blur(images, 4), []

    def answer(shown: Tensor) -> Tensor:
        return network(shown).double() @ torch.linspace(-3, 2, 8, dtype=torch.float64)

    found = integrate_gradients(images, answer, baseline, steps=64, tick=asked.append)
    assert sum(asked) == 3 * 64
    np.testing.assert_allclose(
        found.sum(axis=(1, 2)), (answer(images) - answer(baseline)).numpy(), rtol=0.02, atol=1e-4
    )


def test_what_has_no_gradients_is_said() -> None:
    images = random_images()
    with pytest.raises(UnitError, match="no gradients"):
        integrate_gradients(images, lambda shown: shown.detach().sum(dim=(1, 2, 3)), blur(images, 3))
    with pytest.raises(UnitError, match="aren't finite"):
        integrate_gradients(images, lambda shown: (shown * 0).sqrt().sum(dim=(1, 2, 3)), blur(images, 3))

    def full(shown: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(UnitError, match="no room for gradients of 16 images"):
        integrate_gradients(images, full, blur(images, 3))


def test_blurred_images_keep_what_is_larger_than_a_window() -> None:
    even = torch.full((1, 3, SIZE, SIZE), 0.3)
    torch.testing.assert_close(blur(even, 4), even)
    fine = (torch.arange(SIZE) % 2 + torch.arange(SIZE)[:, None] % 2).float().expand(1, 3, SIZE, SIZE) / 2
    coarse = torch.linspace(0, 1, SIZE).expand(1, 3, SIZE, SIZE)
    assert float((blur(fine, 4) - 0.5)[:, :, 4:-4, 4:-4].abs().max()) < 0.01
    torch.testing.assert_close(blur(coarse, 4)[:, :, :, 8:-8], coarse[:, :, :, 8:-8], rtol=0, atol=1e-3)
    assert blur(coarse, 4).dtype == torch.float32


def test_several_answers_are_each_what_it_is_alone() -> None:
    images, windows = random_images(3), Windows.over(SIZE, SIZE, 0.25, 0.25)
    found = occlude(images, lambda some: torch.stack([corner(some), bend(some)], dim=1), windows)
    assert found.shape == (3, *windows.shape, 2)
    for number, answer in enumerate((corner, bend)):
        np.testing.assert_allclose(found[..., number], occlude(images, answer, windows), rtol=1e-12)
