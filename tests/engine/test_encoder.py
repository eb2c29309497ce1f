from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import PluginError, UnknownNameError, UsageError
from comface_bench.engine.encoder import Encoder, build_encoder, load_method


def test_normalisation_happens_inside_in_the_methods_own_convention() -> None:
    mean, std = (91.5, 103.9, 131.1), (1.0, 2.0, 4.0)
    encoder = Encoder("bgr", nn.Flatten(), Preprocess(mean, std, channels="BGR", scale=255))
    image = torch.rand(1, 3, 2, 2)
    red, green, blue = image[0]
    expected = torch.stack([blue * 255 - 91.5, (green * 255 - 103.9) / 2, (red * 255 - 131.1) / 4])
    assert torch.allclose(encoder(image)[0], expected.flatten(), atol=1e-4)


def test_features_are_float32_even_if_the_backbone_computes_in_less() -> None:
    class Half(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)).bfloat16()

    assert Encoder("half", Half(), Preprocess())(torch.rand(2, 3, 4, 4)).dtype == torch.float32


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_backbone_of_one_size_gets_that_size_as_pillow_resizes(interpolation: str) -> None:
    from PIL import Image

    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    encoder = Encoder("fixed", nn.Flatten(), Preprocess(size=8, interpolation=interpolation, **plain))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    resample = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(pixels).resize((8, 8), resample), dtype=np.float32) / 255
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    # Pillow rounds to whole numbers after each of its two passes.
    assert np.abs(encoder(images).numpy().reshape(3, 8, 8) - expected.transpose(2, 0, 1)).max() < 1.5 / 255
    assert torch.equal(encoder(images[..., :8, :8]), images[..., :8, :8].flatten(1))


def test_any_method_can_be_fed_as_imagenet_networks_are() -> None:
    native = Preprocess(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), channels="BGR", scale=255.0, size=8)
    card = MethodCard(name="m", version=1, build=":build", backbone="b", preprocess=native)
    entry = SimpleNamespace(card=card, resolve=lambda _: lambda options, weights, seed: nn.Flatten())
    images = torch.rand(2, 3, 8, 8)
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    fed = build_encoder(entry, {"preprocess": "imagenet"}, None, 0)
    assert torch.allclose(fed(images), ((images - mean) / std).flatten(1), atol=1e-6)
    assert fed.preprocess.size == 8
    assert build_encoder(entry, {"preprocess": "native"}, None, 0).preprocess == native


def test_a_backbone_that_returns_maps_is_refused() -> None:
    with pytest.raises(PluginError, match=r"shape \(2, D\)"):
        Encoder("maps", nn.Identity(), Preprocess())(torch.rand(2, 3, 4, 4))


def test_measuring_leaves_the_batch_norm_statistics_alone() -> None:
    norm = nn.BatchNorm2d(3)
    encoder = Encoder("norm", nn.Sequential(norm, nn.Flatten()), Preprocess()).train()
    assert encoder.measure(4) == 48
    assert encoder.training
    assert torch.equal(norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]


def test_load_method_takes_options_in_the_name_and_as_arguments() -> None:
    named = load_method("scratch+backbone=resnet18")
    given = load_method("scratch", backbone="resnet18")
    images = torch.rand(2, 3, 32, 32)
    assert not named.training
    assert torch.equal(named(images), given(images))
    assert named(images).shape == (2, 512)
    assert not torch.equal(named(images), load_method("scratch", backbone="resnet18", seed=1)(images))


def test_load_method_names_what_it_does_not_know() -> None:
    with pytest.raises(UnknownNameError, match="scratch"):
        load_method("scrach")
    with pytest.raises(UsageError, match="resnet51"):
        load_method("scratch", backbone="resnet51")
