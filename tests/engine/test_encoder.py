import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import comface_bench as cb
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import PluginError, UnknownNameError, UsageError, WeightsMissingError
from comface_bench.core.registry import method_registry
from comface_bench.data.task import load_task
from comface_bench.engine.encoder import Encoder, build_encoder, encode, load_images, load_method
from comface_bench.engine.feature_files import MappedPages, MappedPart
from comface_bench.engine.precision import Machine


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


@pytest.mark.parametrize("name", ["efficientnet-lite0", "imagenet"])
def test_an_untrained_network_never_passes_for_a_method_that_has_a_file(name: str) -> None:
    with pytest.raises(WeightsMissingError, match=name):
        build_encoder(method_registry().get(name), {"feature": "pooled", "preprocess": "native"}, None, 0)


IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WRONG = {
    "uint8": (lambda: (IMAGES * 255).byte(), "not uint8", lambda images: images.float() / 255),
    "int64": (lambda: (IMAGES * 255).long(), "not int64", lambda images: images.float() / 255),
    "bool": (lambda: IMAGES > 0.5, "not bool", lambda images: images.float()),
    "0 to 255": (lambda: IMAGES * 255, "in [0, 1], not from 0", lambda images: images / 255),
    "normalised": (lambda: (IMAGES - 0.5) / 0.2, "Don't normalise them", lambda images: images * 0.2 + 0.5),
    "-1 to 1": (lambda: IMAGES * 2 - 1, "Don't normalise them", lambda images: (images + 1) / 2),
    "overshoot": (lambda: IMAGES + 0.01, "images.clamp(0, 1)", lambda images: images.clamp(0, 1)),
    "not a number": (
        lambda: IMAGES.where(IMAGES > 0.1, torch.nan),
        "from nan",
        lambda images: images.nan_to_num(),
    ),
    "infinite": (lambda: IMAGES.where(IMAGES > 0.1, torch.inf), "to inf", lambda images: images.clamp(0, 1)),
    "one image": (lambda: IMAGES[0], "images[None]", lambda images: images[None]),
    "one image, channels last": (
        lambda: IMAGES[0].permute(1, 2, 0),
        "images.permute(2, 0, 1)[None]",
        lambda images: images.permute(2, 0, 1)[None],
    ),
    "channels last": (
        lambda: IMAGES.permute(0, 2, 3, 1),
        "images.permute(0, 3, 1, 2)",
        lambda images: images.permute(0, 3, 1, 2),
    ),
    "grey": (
        lambda: IMAGES[:, :1],
        "images.expand(-1, 3, -1, -1)",
        lambda images: images.expand(-1, 3, -1, -1),
    ),
    "transparency": (
        lambda: torch.cat([IMAGES, IMAGES[:, :1]], 1),
        "images[:, :3]",
        lambda images: images[:, :3],
    ),
    "a pair in one": (lambda: torch.cat([IMAGES, IMAGES], 1), "(2, 6, 8, 8)", lambda images: images[:, :3]),
    "no pixels": (lambda: IMAGES[..., :0], "(2, 3, 8, 0)", lambda images: IMAGES),
    "an array": (lambda: IMAGES.numpy(), "not ndarray", torch.from_numpy),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_is_refused_with_what_to_do(name: str) -> None:
    make, said, mend = WRONG[name]
    encoder = load_method("scratch+backbone=resnet18")
    with torch.no_grad():
        with pytest.raises(UsageError) as caught:
            encoder(make())
        assert said in str(caught.value)
        assert caught.value.hint
        assert torch.isfinite(encoder(mend(make()))).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_point_numbers_are_taken(dtype: torch.dtype) -> None:
    encoder = Encoder("flat", nn.Flatten(), Preprocess())
    assert torch.equal(encoder(IMAGES.to(dtype)), encoder(IMAGES.to(dtype).float()))


def test_rounding_past_the_ends_and_an_empty_batch_are_no_faults() -> None:
    encoder = Encoder("flat", nn.Flatten(), Preprocess())
    assert encoder(torch.tensor([-1e-6, 1 + 1e-6, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)).shape == (1, 48)
    assert encoder(IMAGES[:0]).shape == (0, 192)


def test_the_engine_asks_nothing_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a look at the values waits for all that was asked of it before."""

    def fail(*_: object) -> None:
        raise AssertionError("looked at the values")

    monkeypatch.setattr(torch, "aminmax", fail)
    encoder = Encoder("flat", nn.Flatten(), Preprocess()).eval()
    features = encode(
        encoder, lambda rows: IMAGES[rows], np.arange(2), Machine(torch.device("cpu"), "float32")
    )
    assert features.shape == (2, 192)
    with pytest.raises(AssertionError, match="looked"):
        encoder(IMAGES)


def test_a_backbone_that_returns_maps_is_refused() -> None:
    with pytest.raises(PluginError, match=r"shape \(2, D\)"):
        Encoder("maps", nn.Identity(), Preprocess())(torch.rand(2, 3, 4, 4))


def test_measuring_leaves_the_batch_norm_statistics_alone() -> None:
    norm = nn.BatchNorm2d(3)
    encoder = Encoder("norm", nn.Sequential(norm, nn.Flatten()), Preprocess()).train()
    assert encoder.measure(4) == 48
    assert encoder.training
    assert torch.equal(norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]


def test_a_network_of_another_precision_is_told_what_images_are() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).half()
    with pytest.raises(PluginError, match="its network fails") as failed:
        Encoder("half", network, Preprocess()).measure(4)
    assert (
        failed.value.hint
        == "Its weights are float16, and images float32: let `build` return network.float()."
    )


def test_a_function_of_a_card_that_fails_is_named() -> None:
    entry = method_registry().get("scratch")
    with pytest.raises(PluginError, match=r"scratch: .+ fails: KeyError"):
        build_encoder(entry, {}, None, 0)


def test_a_network_that_fails_is_named_with_the_size_of_its_images() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))
    encoder = Encoder("short", network, Preprocess(size=6)).train()
    with pytest.raises(
        PluginError, match=r"short: its network fails on images \(2, 3, 6, 6\): RuntimeError"
    ) as failed:
        encoder.measure(4)
    assert "image_size" in failed.value.hint
    assert encoder.training


def test_the_size_that_a_backbone_sees() -> None:
    class Looking(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.side = images.shape[-1]
            return images.mean((2, 3))

    for preprocess, side in ((Preprocess(), 100), (Preprocess(size=150), 150), (Preprocess(multiple=16), 96)):
        encoder = Encoder("looking", looking := Looking(), preprocess)
        encoder(torch.rand(1, 3, 100, 100))
        assert encoder.input_size(100) == looking.side == side


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


def test_features_of_loaded_images_are_those_that_a_run_keeps(
    make_ages: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_ages(tmp_path / "data")
    options = {"split": "balanced-4", "image_size": 32}
    cb.run("comface", "age", "probe", data=data, results=tmp_path / "results", device="cpu", options=options)
    (entry,) = (Path(os.environ["COMFACE_CACHE"]) / "features").glob("*/")
    (path,) = entry.glob("*.part")
    kept = MappedPart.open(path, entry.name, MappedPages())
    assert kept is not None
    table, encoder = load_task("age+split=balanced-4", data).table, load_method("comface")
    files = [table.root / table.images[row] for row in kept.rows]
    assert len(files) == 32
    with torch.inference_mode():
        loaded = encoder(load_images(files, encoder, image_size=32))
        transform = encoder.make_transform(32)
        opened = encoder(
            torch.stack([transform(Image.open(file, formats=["JPEG", "PNG"])) for file in files])
        )
    np.testing.assert_allclose(loaded.numpy(), kept.values, rtol=0, atol=1e-6)
    assert torch.equal(opened, loaded)
    # Without the seventh that runs keep for crops, features would be others.
    plain = np.stack(
        [
            np.asarray(Image.open(file, formats=["JPEG", "PNG"]).resize((32, 32), Image.Resampling.BILINEAR))
            for file in files
        ]
    )
    with torch.inference_mode():
        other = encoder(torch.from_numpy(plain).permute(0, 3, 1, 2) / 255)
    assert np.abs(other.numpy() - kept.values).max() > 1e-3


def test_an_encoder_prepares_as_runs_do_by_default(tmp_path: Path) -> None:
    encoder = Encoder("mean", nn.Flatten(), Preprocess(), "arcface")
    assert encoder.transform.image_size == 224
    assert encoder.make_transform(align="five-points").chip == "arcface"
    picture = tmp_path / "a.png"
    Image.fromarray(np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)).save(picture)
    assert load_images(picture, encoder).shape == (1, 3, 224, 224)
    assert load_images([str(picture), picture], encoder, image_size=20).shape == (2, 3, 20, 20)
    with pytest.raises(UsageError, match="no picture is named"):
        load_images([], encoder)
    with pytest.raises(UsageError, match="align=eyes"):
        load_images(picture, encoder, align="eyes")  # type: ignore[arg-type]


def test_an_encoder_shows_itself_in_a_line() -> None:
    assert (
        repr(load_method("scratch", backbone="resnet18"))
        == "<Encoder scratch: ResNet, 11,176,512 parameters>"
    )
