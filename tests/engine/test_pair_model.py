"""Heads applied to any images, against a literal loop in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from comface_bench.engine.attribution import Windows, blur
from comface_bench.engine.encoder import ENCODE_BATCH, Encoder, ImageSource
from comface_bench.engine.heads import HeadKind, MirrorKind
from comface_bench.engine.jobs import Fitted
from comface_bench.engine.pair_model import AttributionKind, PairHeads


@pytest.mark.parametrize("head", ["difference", "concat"])
@pytest.mark.parametrize("mirror", ["none", "mean", "beside"])
def test_estimates_are_those_of_a_loop(
    head: HeadKind, mirror: MirrorKind, source: ImageSource, make_encoder: Callable[[], Encoder]
) -> None:
    encoder = make_encoder().eval()
    width = encoder.measure(source.size)
    template = Fitted(torch.zeros(1), head, mirror)
    inputs = PairHeads.inputs(template, width)
    weights = [torch.randn(inputs, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    heads = PairHeads.of([Fitted(weight, head, mirror) for weight in weights])
    x, y = np.array([0, 3, 3, 7]), np.array([5, 1, 3, 0])
    done: list[int] = []
    found = heads.score(heads.encode(encoder, source, done.append), x, y)
    assert sum(done) == len(source.store)

    def feature(row: int) -> np.ndarray:
        image = source.plain(np.array([row, row]))
        with torch.no_grad():
            own, mirrored = (encoder(one)[0].double().numpy() for one in (image, image.flip(3)))
        if mirror == "none":
            return own
        return (own + mirrored) / 2 if mirror == "mean" else np.concatenate([own, mirrored])

    for number, weight in enumerate(weights):
        for place, (first, second) in enumerate(zip(x, y, strict=True)):
            before, after = feature(first), feature(second)
            joined = after - before if head == "difference" else np.concatenate([before, after])
            expected = float(joined @ weight.double().numpy())
            assert found[number, place] == pytest.approx(expected, abs=1e-5)
    if head == "difference":
        assert (found[:, 2] == 0).all()


def test_no_image_goes_through_the_backbone_alone(
    source: ImageSource, make_encoder: Callable[[], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, count = make_encoder().eval(), ENCODE_BATCH + 1
    monkeypatch.setattr(type(source.store), "__len__", lambda _: count)
    monkeypatch.setattr(ImageSource, "plain", lambda _, rows: torch.rand(len(rows), 3, 16, 16))
    sizes: list[int] = []
    encoder.backbone.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    features = PairHeads(torch.ones(1, 8), "difference", "none").encode(encoder, source)
    assert sizes == [ENCODE_BATCH, 2]
    assert len(features) == count


def drawn_heads(encoder: Encoder, size: int, head: HeadKind, mirror: MirrorKind) -> PairHeads:
    inputs = PairHeads.inputs(Fitted(torch.zeros(1), head, mirror), encoder.measure(size))
    weights = torch.randn(2, inputs, generator=torch.Generator().manual_seed(4))
    return PairHeads.of([Fitted(weight, head, mirror) for weight in weights])


@pytest.mark.parametrize("head", ["difference", "concat"])
@pytest.mark.parametrize("mirror", ["none", "mean", "beside"])
def test_both_images_add_up_to_the_estimate(
    head: HeadKind, mirror: MirrorKind, source: ImageSource, make_encoder: Callable[[], Encoder]
) -> None:
    encoder = make_encoder().eval().requires_grad_(False)
    heads = drawn_heads(encoder, source.size, head, mirror)
    x, y = np.array([0, 3, 3]), np.array([5, 1, 3])
    expected = heads.score(heads.encode(encoder, source), x, y).mean(axis=0)
    for grown in (False, True):
        first, second = (source.plain(rows).requires_grad_(grown) for rows in (x, y))
        found = heads.add(encoder, first, 0, source.machine) + heads.add(encoder, second, 1, source.machine)
        assert found.requires_grad == grown
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", ["difference", "concat"])
@pytest.mark.parametrize("mirror", ["none", "mean", "beside"])
def test_a_windows_effect_is_the_estimate_less_that_with_it_hidden(
    head: HeadKind, mirror: MirrorKind, source: ImageSource, make_encoder: Callable[[], Encoder]
) -> None:
    encoder = make_encoder().eval().requires_grad_(False)
    heads = drawn_heads(encoder, source.size, head, mirror)
    pair, windows = source.plain(np.array([0, 5])), Windows.over(source.size, source.size, 0.5, 0.25)
    done: list[int] = []
    found = heads.attribute("occlusion", encoder, pair, windows, source.machine, done.append)
    assert found.shape == (2, *windows.shape) and sum(done) == found.size
    fill = blur(pair, windows.side)

    def estimate(first: torch.Tensor, second: torch.Tensor) -> float:
        features = []
        for image in (first[None], second[None]):
            with torch.no_grad():
                own, mirrored = (encoder(one).double() for one in (image, image.flip(3)))
            kinds = {"none": own, "mean": (own + mirrored) / 2, "beside": torch.cat([own, mirrored], dim=1)}
            features.append(kinds[mirror])
        before, after = features
        joined = after - before if head == "difference" else torch.cat([before, after], dim=1)
        return float(sum((joined @ weight)[0] for weight in heads.weights) / len(heads.weights))

    whole = estimate(*pair)
    for side in (0, 1):
        for place, (down, across) in enumerate(windows.slices()):
            hidden = pair.clone()
            hidden[side, :, down, across] = fill[side, :, down, across]
            assert found[side].flat[place] == pytest.approx(whole - estimate(*hidden), abs=1e-5)


@pytest.mark.parametrize("kind", ["occlusion", "gradients"])
def test_only_the_photograph_that_decides_lights_up(
    kind: AttributionKind, source: ImageSource, make_encoder: Callable[[], Encoder]
) -> None:
    encoder = make_encoder().eval().requires_grad_(False)
    pair, windows = source.plain(np.array([0, 5])), Windows.over(source.size, source.size)
    for side in (0, 1):
        weights = torch.zeros(1, 16, dtype=torch.float64)
        weights[:, 8 * side : 8 * side + 8] = 1
        heads = PairHeads(weights, "concat", "none")
        found = heads.attribute(kind, encoder, pair, windows, source.machine)
        assert (found[1 - side] == 0).all() and np.abs(found[side]).max() > 1e-4
