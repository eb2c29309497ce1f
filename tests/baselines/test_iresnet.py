"""ArcFace and AdaFace: their two spellings of one kind of network, computed from the files' keys by hand."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch.nn import functional

from comface_bench.baselines import iresnet
from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

DEPTHS = (2, 1, 2, 1)
WIDTHS = (8, 16, 24, 32)  # An eighth or less of the real ones.
STEM, LAST = WIDTHS[0], WIDTHS[-1]
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@pytest.fixture
def narrow(monkeypatch):
    """A network of six narrow blocks: all there is to get wrong, in a fraction of the time."""
    monkeypatch.setitem(iresnet.DEPTHS, "iresnet50", DEPTHS)
    monkeypatch.setattr(iresnet, "_WIDTHS", WIDTHS)


def norm_shapes(name, width, affine=True):
    leaves = ["weight", "bias"] if affine else []
    shapes = {f"{name}.{leaf}": (width,) for leaf in [*leaves, "running_mean", "running_var"]}
    return shapes | {f"{name}.num_batches_tracked": ()}


def arcface_shapes():
    shapes = {"conv1.weight": (STEM, 3, 3, 3), "prelu.weight": (STEM,), **norm_shapes("bn1", STEM)}
    inside = STEM
    for stage, (count, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True), start=1):
        for number in range(count):
            block = f"layer{stage}.{number}."
            shapes |= norm_shapes(f"{block}bn1", inside) | norm_shapes(f"{block}bn2", width)
            shapes |= norm_shapes(f"{block}bn3", width) | {f"{block}prelu.weight": (width,)}
            shapes[f"{block}conv1.weight"] = (width, inside, 3, 3)
            shapes[f"{block}conv2.weight"] = (width, width, 3, 3)
            if number == 0:
                shapes[f"{block}downsample.0.weight"] = (width, inside, 1, 1)
                shapes |= norm_shapes(f"{block}downsample.1", width)
            inside = width
    shapes |= norm_shapes("bn2", LAST) | {"fc.weight": (512, 49 * LAST), "fc.bias": (512,)}
    return shapes | norm_shapes("features", 512)


def adaface_shapes():
    shapes = {"input_layer.0.weight": (STEM, 3, 3, 3), "input_layer.2.weight": (STEM,)}
    shapes |= norm_shapes("input_layer.1", STEM)
    inside, place = STEM, 0
    for count, width in zip(DEPTHS, WIDTHS, strict=True):
        for _ in range(count):
            inner = f"body.{place}.res_layer."
            shapes |= norm_shapes(f"{inner}0", inside) | norm_shapes(f"{inner}2", width)
            shapes |= norm_shapes(f"{inner}5", width) | {f"{inner}3.weight": (width,)}
            shapes[f"{inner}1.weight"] = (width, inside, 3, 3)
            shapes[f"{inner}4.weight"] = (width, width, 3, 3)
            if inside != width:
                shapes[f"body.{place}.shortcut_layer.0.weight"] = (width, inside, 1, 1)
                shapes |= norm_shapes(f"body.{place}.shortcut_layer.1", width)
            inside, place = width, place + 1
    shapes |= {"output_layer.3.weight": (512, 49 * LAST), "output_layer.3.bias": (512,)}
    return shapes | norm_shapes("output_layer.0", LAST) | norm_shapes("output_layer.4", 512, affine=False)


class ByHand:
    """The forward pass in float64 from tensors alone."""

    def __init__(self, tensors):
        self.tensors = {name: tensor.double() for name, tensor in tensors.items()}

    def norm(self, maps, name):
        get = self.tensors.get
        mean, variance = get(f"{name}.running_mean"), get(f"{name}.running_var")
        shape = (1, -1, *[1] * (maps.ndim - 2))
        scaled = (maps - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        if f"{name}.weight" in self.tensors:
            scaled = scaled * get(f"{name}.weight").view(shape) + get(f"{name}.bias").view(shape)
        return scaled

    def convolve(self, maps, name, stride=1):
        weight = self.tensors[f"{name}.weight"]
        return functional.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2)

    def prelu(self, maps, name):
        slope = self.tensors[f"{name}.weight"].view(1, -1, 1, 1)
        return torch.where(maps >= 0, maps, slope * maps)

    def arcface(self, images):
        maps = self.prelu(self.norm(self.convolve(images, "conv1"), "bn1"), "prelu")
        for stage, count in enumerate(DEPTHS, start=1):
            for number in range(count):
                block, stride = f"layer{stage}.{number}.", 1 if number else 2
                inner = self.norm(
                    self.convolve(self.norm(maps, f"{block}bn1"), f"{block}conv1"), f"{block}bn2"
                )
                inner = self.convolve(self.prelu(inner, f"{block}prelu"), f"{block}conv2", stride)
                if number == 0:
                    maps = self.norm(self.convolve(maps, f"{block}downsample.0", 2), f"{block}downsample.1")
                maps = self.norm(inner, f"{block}bn3") + maps
        flat = self.norm(maps, "bn2").flatten(1)
        return self.norm(flat @ self.tensors["fc.weight"].T + self.tensors["fc.bias"], "features")

    def adaface(self, images):
        maps = self.convolve(images, "input_layer.0")
        maps = self.prelu(self.norm(maps, "input_layer.1"), "input_layer.2")
        place = 0
        for count in DEPTHS:
            for number in range(count):
                inner, short, stride = (
                    f"body.{place}.res_layer.",
                    f"body.{place}.shortcut_layer.",
                    1 if number else 2,
                )
                branch = self.norm(self.convolve(self.norm(maps, f"{inner}0"), f"{inner}1"), f"{inner}2")
                branch = self.convolve(self.prelu(branch, f"{inner}3"), f"{inner}4", stride)
                if f"{short}0.weight" in self.tensors:
                    maps = self.norm(self.convolve(maps, f"{short}0", stride), f"{short}1")
                else:
                    maps = maps[:, :, ::stride, ::stride]
                maps = self.norm(branch, f"{inner}5") + maps
                place += 1
        flat = self.norm(maps, "output_layer.0").flatten(1)
        flat = flat @ self.tensors["output_layer.3.weight"].T + self.tensors["output_layer.3.bias"]
        return self.norm(flat, "output_layer.4")


@pytest.fixture(scope="module")
def arcface_weights(draw):
    return draw(arcface_shapes(), 2)


@pytest.fixture(scope="module")
def adaface_weights(draw):
    return draw(adaface_shapes(), 3)


@pytest.fixture
def save(tmp_path):
    def write(content, name="file.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def lightning(weights):
    head = {"head.kernel": torch.ones(512, 10), "head.t": torch.zeros(1)}
    state = {f"model.{name}": tensor for name, tensor in weights.items()} | head
    return {
        "epoch": 25,
        "global_step": 9,
        "state_dict": state,
        "optimizer_states": [],
        "hyper_parameters": {},
    }


@pytest.mark.usefixtures("narrow")
class TestArcFace:
    def test_features_are_those_of_the_keys(
        self, arcface_weights, save, draw_images, normalise, assert_same, assert_other
    ):
        images = draw_images(112)
        expected = ByHand(arcface_weights).arcface(normalise(images, *HALF))
        with torch.no_grad():
            found = load_method("arcface", checkpoint=save(arcface_weights))(images)
        assert found.shape == (2, 512)
        assert_same(found, expected)
        flipped = ByHand(arcface_weights).arcface(normalise(images.flip(1), *HALF))
        assert_other(flipped, expected)

    def test_other_sizes_are_resized_to_112(self, arcface_weights, save, draw_images):
        encoder = load_method("arcface", checkpoint=save(arcface_weights))
        images = draw_images(224)
        shrunk = functional.interpolate(images, (112, 112), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert (encoder(images) - encoder(shrunk)).abs().max() < 1e-4

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("layer3.1.bn2.running_var", None, r"lacks 1: layer3\.1\.bn2\.running_var"),
            ("layer3.2.conv1.weight", torch.zeros(24, 24, 3, 3), r"unknown 1: layer3\.2\.conv1"),
            ("fc.weight", torch.zeros(512, 512), r"wrong shape of 1: fc\.weight"),
        ],
    )
    def test_mutations_are_refused(self, arcface_weights, save, name, value, said):
        changed = {key: tensor for key, tensor in arcface_weights.items() if key != name}
        with pytest.raises(WeightsFormatError, match=said):
            load_method("arcface", checkpoint=save(changed if value is None else {**changed, name: value}))

    def test_a_file_of_adaface_is_refused(self, adaface_weights, save):
        with pytest.raises(WeightsFormatError, match="doesn't fit the network"):
            load_method("arcface", checkpoint=save(adaface_weights))


@pytest.mark.usefixtures("narrow")
class TestAdaFace:
    def test_features_of_the_first_release_take_bgr(
        self, adaface_weights, save, draw_images, normalise, assert_same, assert_other
    ):
        images = draw_images(112)
        expected = ByHand(adaface_weights).adaface(normalise(images.flip(1), *HALF))
        with torch.no_grad():
            found = load_method("adaface", checkpoint=save(lightning(adaface_weights), "ada.ckpt"))(images)
        assert found.shape == (2, 512)
        assert_same(found, expected)
        assert_other(ByHand(adaface_weights).adaface(normalise(images, *HALF)), expected)

    @pytest.mark.parametrize("prefix", ["model.net.", "net."])
    def test_features_of_cvlface_take_rgb(
        self, adaface_weights, save, draw_images, normalise, assert_same, assert_other, prefix
    ):
        images = draw_images(112)
        expected = ByHand(adaface_weights).adaface(normalise(images, *HALF))
        path = save({prefix + name: tensor for name, tensor in adaface_weights.items()})
        with torch.no_grad():
            found = load_method("adaface", checkpoint=path, release="cvlface")(images)
        assert_same(found, expected)

    def test_the_releases_are_distinguished(self, adaface_weights, save):
        ours = save(lightning(adaface_weights), "ada.ckpt")
        with pytest.raises(WeightsFormatError, match="of the release adaface") as caught:
            load_method("adaface", checkpoint=ours, release="cvlface")
        assert caught.value.hint == "Use it as --method adaface -o release=adaface"
        theirs = save({f"model.net.{name}": tensor for name, tensor in adaface_weights.items()})
        with pytest.raises(WeightsFormatError, match="of the release cvlface"):
            load_method("adaface", checkpoint=theirs)

    def test_what_the_trainer_names_is_read_past(self, adaface_weights, save, monkeypatch):
        """Its files name callbacks by their classes, which aren't installed here and needn't be."""
        module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
        saver = type("ModelCheckpoint", (), {"__module__": module.__name__})
        module.ModelCheckpoint = saver
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
            patch.setitem(sys.modules, "pytorch_lightning.callbacks", types.ModuleType("callbacks"))
            patch.setitem(sys.modules, module.__name__, module)
            path = save({**lightning(adaface_weights), "callbacks": {saver: {"best": 1.0}}}, "ada.ckpt")
        assert load_method("adaface", checkpoint=path).preprocess.channels == "BGR"

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("body.1.res_layer.4.weight", None, r"lacks 1: layer1\.1\.conv2"),
            ("body.6.res_layer.0.weight", torch.zeros(512), r"has no place for its key body\.6"),
            ("output_layer.4.weight", torch.zeros(512), r"unknown 1: features\.weight"),
            ("body.0.se.weight", torch.zeros(1), r"has no place for its key body\.0\.se"),
        ],
    )
    def test_mutations_are_refused(self, adaface_weights, save, name, value, said):
        changed = {key: tensor for key, tensor in adaface_weights.items() if key != name}
        changed = changed if value is None else {**changed, name: value}
        with pytest.raises(WeightsFormatError, match=said):
            load_method("adaface", checkpoint=save(lightning(changed)))

    def test_a_file_of_arcface_is_refused(self, arcface_weights, save):
        with pytest.raises(WeightsFormatError, match="holds no backbone"):
            load_method("adaface", checkpoint=save(arcface_weights))


@pytest.mark.parametrize(("name", "millions"), [("iresnet50", 43.59), ("iresnet100", 65.16)])
def test_the_networks_are_as_large_as_published(name, millions):
    with torch.device("meta"):
        theirs, adafaces = (iresnet.build_iresnet(name, 0, adaface) for adaface in (False, True))
    count, less = (sum(tensor.numel() for tensor in net.parameters()) for net in (theirs, adafaces))
    assert round(count / 1e6, 2) == millions
    # AdaFace's first shortcut (a convolution and a norm) and last norm have no weights.
    assert count - less == 64 * 64 + 2 * 64 + 2 * 512
