"""Heads applied to any images, against a literal loop in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from comface_bench.engine.encoder import ENCODE_BATCH, Encoder, ImageSource
from comface_bench.engine.heads import HeadKind, MirrorKind
from comface_bench.engine.jobs import Fitted
from comface_bench.engine.pair_model import PairHeads


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
