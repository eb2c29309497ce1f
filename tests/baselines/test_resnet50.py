"""ResNet-50 methods: features against an independent network, from files laid out as the authors save them.

The reference is written out in functions and float64. Where the width proves nothing, blocks are eight times
narrower. Files that aren't what they are taken for are refused, say why, and leave the network as it was.
"""

from __future__ import annotations

import functools
import math
import re
import sys

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms import Normalize

from comface_bench.baselines import resnet50
from comface_bench.baselines.resnet50 import key_order
from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method
from comface_bench.weights.convert import convert_weights

BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}
IDENTITIES = 31
"""Of the narrow network's VGGFace2 classifier, which is as large as its backbone otherwise."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RED_0228 = IMAGENET[0], (0.228, 0.224, 0.225)
RAW = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
BGR_MEAN = (91.4953, 103.8827, 131.0912)

CLASSES = {"imagenet": 1000, "vggface2": 8631, "simclr": 1000}
NARROW_CLASSES = CLASSES | {"vggface2": IDENTITIES}
PREFIXES = {"mocov2": "module.encoder_q.", "swav": "module.", "bulat": "module.base_net."}
METHODS = ("imagenet", "vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat")


def narrow_resnet50(weights=None, num_classes=1000):
    """torchvision's ResNet-50 with an eighth of the channels inside its blocks; features keep their 2048."""
    assert weights is None
    return ResNet(Bottleneck, list(BLOCKS.values()), num_classes=num_classes, width_per_group=8)


@pytest.fixture
def narrow(undrawn, monkeypatch):
    """Build the narrow network wherever the product asks for torchvision's."""
    monkeypatch.setattr(torchvision.models, "resnet50", narrow_resnet50)
    monkeypatch.setattr(resnet50, "VGGFACE2_IDENTITIES", IDENTITIES)


def shapes_of(make, classes=None):
    """Name → shape of a network with a classifier, or without one."""
    with torch.device("meta"):
        network = make(weights=None, num_classes=classes or 1)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return found if classes else {name: shape for name, shape in found.items() if not name.startswith("fc.")}


def draw(seed, classes=None, scale=1.0, make=narrow_resnet50):
    """Draw random weights under which features neither vanish nor explode.

    `scale` is how far inputs spread: the first normalisation takes it out, as training would have.
    """
    random = torch.Generator().manual_seed(seed)

    def uniform(low, high, shape):
        return low + (high - low) * torch.rand(shape, generator=random)

    tensors = {}
    for name, shape in shapes_of(make, classes).items():
        spread = scale if name.startswith("bn1.") else 1.0
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(seed)
        elif name.startswith("fc."):
            tensors[name] = torch.zeros(shape)
        elif len(shape) >= 2:
            fan_in = math.prod(shape[1:])
            tensors[name] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        elif name.endswith("running_var"):
            tensors[name] = uniform(0.5, 1.5, shape) * spread**2
        elif name.endswith("running_mean"):
            tensors[name] = uniform(-0.3, 0.3, shape) * spread
        elif name.endswith("bn3.weight"):
            tensors[name] = uniform(0.1, 0.5, shape)
        else:
            tensors[name] = uniform(0.5, 1.2, shape) if name.endswith("weight") else uniform(-0.3, 0.3, shape)
    return tensors


def hollow(make, classes=None):
    """Weights of a network's shapes that take no room: all are views of one stretch of zeros."""
    wanted = shapes_of(make, classes)
    zeros = torch.zeros(max(map(math.prod, wanted.values())), dtype=torch.float16)
    views = {shape: zeros[: math.prod(shape)].view(shape) for shape in set(wanted.values())}
    return {name: views[shape] for name, shape in wanted.items()}


def reference(tensors, images, pool="around", halved_by="conv2"):
    """The network in float64, from normalised images to features.

    `pool`, the max-pool's padding, is "around" (torch), "after" (TensorFlow's SAME, for even maps) or "none"
    (Caffe: windows may hang over the edge, where there is nothing); `halved_by` is the convolution of a block
    that has its stride.
    """
    given = {name: tensor.double() for name, tensor in tensors.items()}

    def convolve(x, name, stride=1, padding=0):
        return functional.conv2d(x, given[f"{name}.weight"], stride=stride, padding=padding)

    def normalise(x, name):
        mean, var, weight, bias = (
            given[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def block(x, name, stride):
        first, second = (stride, 1) if halved_by == "conv1" else (1, stride)
        y = normalise(convolve(x, f"{name}.conv1", first), f"{name}.bn1").clamp(min=0)
        y = normalise(convolve(y, f"{name}.conv2", second, 1), f"{name}.bn2").clamp(min=0)
        y = normalise(convolve(y, f"{name}.conv3"), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in given:
            x = normalise(convolve(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (x + y).clamp(min=0)

    x = normalise(convolve(functional.pad(images.double(), (3, 3, 3, 3)), "conv1", 2), "bn1").clamp(min=0)
    assert x.shape[-1] % 2 == x.shape[-2] % 2 == 0
    before = 1 if pool == "around" else 0
    x = functional.pad(x, (before, 1, before, 1), value=-torch.inf)
    x = x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))
    for layer, count in BLOCKS.items():
        for number in range(count):
            x = block(x, f"{layer}.{number}", 2 if number == 0 and layer != "layer1" else 1)
    return x.mean((2, 3))


@functools.cache
def _one_row(millions):
    return torch.ones(millions * 1_000_000, dtype=torch.float16)


def _ones(*shape):
    """Stand-in for everything but the backbone; in a file, all of it takes the room of one tensor."""
    count = math.prod(shape)
    return _one_row(3 if count <= 3_000_000 else 10)[:count].view(shape)


def _optimizer(tensors):
    first = next(iter(tensors.values()))
    groups = [{"lr": 0.03, "momentum": 0.9, "nesterov": False, "params": [0]}]
    return {"state": {0: {"momentum_buffer": _ones(*first.shape)}}, "param_groups": groups}


def _head(name, hidden, out):
    """Projection 2048 → hidden → norm → out, as SwAV has it."""
    return {
        f"{name}.0.weight": _ones(hidden, 2048),
        f"{name}.0.bias": _ones(hidden),
        f"{name}.1.weight": _ones(hidden),
        f"{name}.1.bias": _ones(hidden),
        f"{name}.1.running_mean": _ones(hidden),
        f"{name}.1.running_var": _ones(hidden),
        f"{name}.1.num_batches_tracked": torch.tensor(7),
        f"{name}.3.weight": _ones(out, hidden),
        f"{name}.3.bias": _ones(out),
    }


def _swav(tensors):
    head = _head("module.projection_head", 256, 128)
    return _prefixed("module.", tensors) | head | {"module.prototypes.weight": _ones(3000, 128)}


def _swav_training(tensors):
    return {"epoch": 200, "state_dict": _swav(tensors), "optimizer": _optimizer(tensors)}


def _bulat(tensors):
    head = _head("module.projection_net.net", 256, 128)
    keys = _prefixed("module.base_net.", tensors) | head | {"module.prototypes.weight": _ones(3000, 128)}
    return {"epoch": 100, "state_dict": keys, "optimizer": _optimizer(tensors)}


def _moco(tensors, wrapper="module."):
    keys = {}
    for encoder in ("encoder_q", "encoder_k"):
        prefix = f"{wrapper}{encoder}."
        own = tensors if encoder == "encoder_q" else {name: _ones(*tensors[name].shape) for name in tensors}
        keys |= _prefixed(prefix, own)
        for layer, out in (("fc.0", 256), ("fc.2", 128)):
            keys |= {
                f"{prefix}{layer}.weight": _ones(out, 2048),
                f"{prefix}{layer}.bias": _ones(out),
            }
    keys |= {f"{wrapper}queue": _ones(128, 4096), f"{wrapper}queue_ptr": torch.zeros(1).long()}
    return {"epoch": 200, "arch": "resnet50", "state_dict": keys, "optimizer": _optimizer(tensors)}


def _barlow_training(tensors):
    projector = {f"module.projector.{layer}.weight": _ones(64, 64) for layer in (0, 3, 6)}
    norm = {"module.bn.running_mean": _ones(64), "module.bn.running_var": _ones(64)}
    keys = _prefixed("module.backbone.", tensors) | projector | norm
    return {"epoch": 1000, "model": keys, "optimizer": _optimizer(tensors)}


def _simclr(tensors):
    ordered = {}
    for name in tensors:
        if name.endswith(".conv1.weight"):  # The converter's blocks declare their shortcut first.
            shortcut = name.removesuffix("conv1.weight") + "downsample."
            ordered |= {key: tensor for key, tensor in tensors.items() if key.startswith(shortcut)}
        ordered.setdefault(name, tensors[name])
    return {"state_dict": ordered}


def _vggface2(tensors):
    # Exported before torch 0.4.1, which brought the counter of batches.
    arrays = {id(tensor): tensor.numpy() for tensor in tensors.values()}
    return {name: arrays[id(tensor)] for name, tensor in tensors.items() if "num_batches" not in name}


def _prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


LAYOUTS = {
    "imagenet": dict,
    "vggface2": _vggface2,
    "simclr": _simclr,
    "mocov2": _moco,
    "mocov2, one process": functools.partial(_moco, wrapper=""),
    "swav": _swav,
    "swav, training": _swav_training,
    "barlowtwins": dict,
    "barlowtwins, training": _barlow_training,
    "bulat": _bulat,
}
"""Layout → what the authors' code saves of a network's tensors."""


def form_of(layout):
    return "python2" if layout == "vggface2" else "zip"


WEIGHTS = {
    "imagenet": {"seed": 3, "classes": 1000},
    # Inputs reach from −131 to 164.
    "vggface2": {"seed": 4, "classes": IDENTITIES, "scale": 70.0},
    "simclr": {"seed": 5, "classes": 1000, "scale": 0.3},
    "mocov2": {"seed": 6},
    "swav": {"seed": 7},
    "barlowtwins": {"seed": 8},
    "bulat": {"seed": 9},
}
INPUTS = {"swav": RED_0228, "bulat": RED_0228, "simclr": RAW}
"""Method → mean and standard deviation of its input where they aren't ImageNet's."""


@pytest.fixture(scope="module")
def tensors():
    """Draw a method's narrow weights, once."""
    return functools.cache(lambda method: draw(**WEIGHTS[method]))


@pytest.fixture(scope="module")
def expected(tensors, photos, as_input, normalise):
    """Compute a method's features of two photographs of 96 pixels with the reference, once."""

    @functools.cache
    def compute(method, pool="around"):
        images = normalise(as_input(photos(96)), *INPUTS.get(method, IMAGENET))
        return reference(tensors(method), images, pool=pool)

    return compute


def encode(images, method, path, **options):
    with torch.no_grad():
        return load_method(method, checkpoint=path, **options)(images)


@pytest.mark.parametrize(
    ("layout", "form"),
    [
        *[(method, form) for method in METHODS if method != "vggface2" for form in ("zip", "legacy")],
        ("mocov2, one process", "zip"),
        ("swav, training", "zip"),
        ("barlowtwins, training", "zip"),
    ],
)
def test_features_are_the_authors(
    narrow, layout, form, tensors, photos, as_input, expected, save, tmp_path, assert_same
):
    method = layout.partition(",")[0]
    path = save(LAYOUTS[layout](tensors(method)), tmp_path / "mine.pth", form)
    found = encode(as_input(photos(96)), method, path)
    assert found.shape == (2, 2048)
    assert expected(method).std() > 0.1
    assert_same(found, expected(method))


def test_features_are_the_authors_at_the_real_width(
    undrawn, photos, as_input, normalise, save, tmp_path, assert_same
):
    """Of an image that need not be square."""
    tensors = draw(3, classes=1000, make=torchvision.models.resnet50)
    path = save(tensors, tmp_path / "mine.pth")
    images = as_input(photos(80, count=1))[:, :, :64]
    found = encode(images, "imagenet", path)
    assert found.shape == (1, 2048)
    assert_same(found, reference(tensors, normalise(images, *IMAGENET)))
    path.unlink()


@pytest.mark.parametrize(
    ("method", "told"),
    [("imagenet", "resnet50_ram-a26f946b.pth"), ("mocov2", "moco_v2_200ep_pretrain.pth.tar")],
)
def test_another_file_under_the_published_name_is_refused(own_folders, method, told):
    (own_folders / "weights" / told).write_bytes(b"other")
    digest = {"imagenet": "a26f946b", "mocov2": "59fd9945"}[method]
    with pytest.raises(WeightsFormatError, match=f"but the authors publish {digest}"):
        load_method(method)


@pytest.mark.usefixtures("narrow")
class TestSimCLR:
    PADDING = {"torch": "around", "tf": "after"}  # noqa: RUF012

    @pytest.fixture
    def file(self, tensors, save, tmp_path):
        return save(_simclr(tensors("simclr")), tmp_path / "resnet50-1x.pth")

    @pytest.mark.parametrize("pool", PADDING)
    def test_features_of_either_pool(self, pool, file, photos, as_input, expected, assert_same):
        wanted = expected("simclr", self.PADDING[pool])
        assert wanted.std() > 0.1
        assert_same(encode(as_input(photos(96)), "simclr", file, pool=pool), wanted)

    def test_the_converters_pool_is_the_default(self, file, photos, as_input, expected, assert_same):
        assert_same(encode(as_input(photos(96)), "simclr", file), expected("simclr", "around"))

    def test_pools_and_statistics_matter(self, file, photos, as_input, expected, assert_other):
        assert_other(expected("simclr", "after"), expected("simclr", "around"))
        found = encode(as_input(photos(96)), "simclr", file, preprocess="imagenet")
        assert_other(found, expected("simclr", "around"))

    def test_the_layout_is_the_converters(self, tensors):
        names = list(_simclr(tensors("simclr"))["state_dict"])
        assert set(names) == set(tensors("simclr"))
        assert names.index("layer2.0.downsample.1.weight") < names.index("layer2.0.conv1.weight")
        assert names.index("layer1.2.bn3.weight") < names.index("layer2.0.downsample.0.weight")

    def test_order_distinguishes_its_file_from_imagenets(self, tensors, save, tmp_path):
        ours = save(_simclr(tensors("simclr")), tmp_path / "resnet50-1x.pth")
        theirs = save(tensors("simclr"), tmp_path / "imagenet.pth")
        with pytest.raises(
            WeightsFormatError, match=r"resnet50-1x\.pth isn't imagenet's: .* simclr-converter's"
        ):
            load_method("imagenet", checkpoint=ours)
        with pytest.raises(
            WeightsFormatError, match=r"imagenet\.pth isn't simclr's: .* torchvision's"
        ) as caught:
            load_method("simclr", checkpoint=theirs)
        assert caught.value.hint.endswith("comface-bench weights convert FILE")
        load_method("simclr", checkpoint=ours)
        load_method("imagenet", checkpoint=theirs)

    @pytest.mark.parametrize("method", ["simclr", "imagenet"])
    def test_a_sorted_file_is_taken_for_what_it_is_called(self, method, tensors, tmp_path):
        path = tmp_path / "mine.safetensors"
        save_file(tensors("simclr"), path)
        load_method(method, checkpoint=path)


@pytest.mark.usefixtures("narrow")
class TestVGGFace2:
    @pytest.fixture
    def file(self, tensors, save, tmp_path):
        return save(_vggface2(tensors("vggface2")), tmp_path / "resnet50_scratch_weight.pkl", "python2")

    def authors_input(self, pictures):
        """BGR, 0–255, minus the mean, as their data loader makes it of RGB pictures; float64."""
        shifted = pictures[:, :, :, ::-1].astype(np.float64) - np.array(BGR_MEAN)
        return torch.from_numpy(shifted.transpose(0, 3, 1, 2).copy())

    def naive(self, tensors):
        """Torchvision's network with the same tensors: it loads without a word."""
        network = torchvision.models.resnet50(weights=None, num_classes=IDENTITIES)
        network.load_state_dict(tensors, strict=True)
        network.fc = nn.Identity()
        return network.eval()

    # At 224 pixels the authors' pooling window of 7×7 is the whole map; they take no other size, we do.
    @pytest.mark.parametrize("size", [224, 96])
    def test_features_are_the_authors(self, size, file, tensors, photos, as_input, assert_same):
        pictures = photos(size)
        images = self.authors_input(pictures)
        expected = reference(tensors("vggface2"), images, pool="none", halved_by="conv1")
        found = encode(as_input(pictures), "vggface2", file)
        assert found.shape == (2, 2048)
        assert expected.std() > 0.1
        assert_same(found, expected)

    def test_the_naive_ways_to_load_it_give_other_features(
        self, file, tensors, photos, as_input, assert_other
    ):
        pictures = photos(96)
        given = as_input(pictures)
        network, encoder = self.naive(tensors("vggface2")), load_method("vggface2", checkpoint=file)
        with torch.no_grad():
            right = encoder(given)
            topology = network(self.authors_input(pictures).float())
            statistics = encoder.backbone(Normalize(*IMAGENET)(given))
            order = encoder(given.flip(1))
            both = network(Normalize(*IMAGENET)(given))
        for wrong in (topology, statistics, order, both):
            assert_other(wrong, right)

    def test_the_option_feeds_imagenets_statistics(self, file, photos, as_input):
        given = as_input(photos(96))
        encoder = load_method("vggface2", checkpoint=file)
        found = encode(given, "vggface2", file, preprocess="imagenet")
        with torch.no_grad():
            assert (found - encoder.backbone(Normalize(*IMAGENET)(given))).abs().max() < 1e-5


def test_a_training_checkpoint_that_names_a_function_is_converted_first(
    narrow, tensors, photos, as_input, expected, save, tmp_path, assert_same, monkeypatch
):
    def exclude_bias_and_norm(parameter):
        raise AssertionError("a checkpoint's function ran")

    # Some of Barlow Twins' versions keep two functions of the training script in the optimiser's state.
    exclude_bias_and_norm.__module__, exclude_bias_and_norm.__qualname__ = "__main__", "exclude_bias_and_norm"
    monkeypatch.setattr(
        sys.modules["__main__"], "exclude_bias_and_norm", exclude_bias_and_norm, raising=False
    )
    content = _barlow_training(tensors("barlowtwins"))
    content["optimizer"]["param_groups"][0]["weight_decay_filter"] = exclude_bias_and_norm
    path = save(content, tmp_path / "mine.pth")
    with pytest.raises(WeightsFormatError, match=r"__main__\.exclude_bias_and_norm") as caught:
        load_method("barlowtwins", checkpoint=path)
    assert "weights convert" in caught.value.hint
    converted = convert_weights(path).path
    assert_same(encode(as_input(photos(96)), "barlowtwins", converted), expected("barlowtwins"))


@pytest.fixture(scope="module")
def contents():
    """Content of each method's file for the narrow network, by layout."""
    return {
        layout: lay_out(hollow(narrow_resnet50, NARROW_CLASSES.get(layout)))
        for layout, lay_out in LAYOUTS.items()
    }


@pytest.fixture(scope="module")
def networks():
    """The networks that all are loaded into, narrow and real; each is drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "resnet50", narrow_resnet50)
        small = resnet50.build_backbone("resnet50", 0)
    return {"narrow": small, "real": resnet50.build_backbone("resnet50", 0)}


@pytest.fixture
def watch(networks, monkeypatch):
    """Load into one of the networks; returns a check that nobody has written to its tensors since."""

    def start(size):
        network = networks[size]
        monkeypatch.setattr(resnet50, "build_backbone", lambda name, seed: network)
        if size == "narrow":
            monkeypatch.setattr(resnet50, "VGGFACE2_IDENTITIES", IDENTITIES)

        def state():
            network.fc = nn.Identity()
            return {
                name: (tensor.data_ptr(), tensor._version) for name, tensor in network.state_dict().items()
            }

        before = state()
        return lambda: state() == before

    return start


@pytest.fixture
def untouched(watch):
    """Return a check that nobody has written to the narrow network's tensors since."""
    return watch("narrow")


def keys_of(content):
    """The state dict inside the authors' container."""
    return content.get("state_dict") or content.get("model") or content


def with_keys(content, keys):
    """The same container around another state dict."""
    inside = next((name for name in ("state_dict", "model") if name in content), None)
    return content | {inside: keys} if inside else keys


def without_block(keys, prefix):
    return {name: value for name, value in keys.items() if not name.startswith(f"{prefix}layer3.2.")}


def transposed(keys, prefix):
    name = f"{prefix}layer1.0.conv3.weight"
    return keys | {name: keys[name].reshape(8, 256, 1, 1)}


def renamed(keys, prefix):
    return {f"trunk.{name}": value for name, value in keys.items()}


def renamed_in_part(keys, prefix):
    return {name.replace(f"{prefix}layer4", "net.layer4"): value for name, value in keys.items()}


def only_the_head(keys, prefix):
    backbone = tuple(prefix + name for name in ("conv1", "bn1", "layer"))
    return {name: value for name, value in keys.items() if not name.startswith(backbone)}


def with_one_more(keys, prefix):
    return keys | {f"{prefix}layer5.weight": keys[f"{prefix}bn1.bias"]}


def spoiled(number):
    def spoil(keys, prefix):
        name = f"{prefix}layer2.3.bn2.running_var"
        changed = keys[name] * 1
        changed[5] = number
        return keys | {name: changed}

    return spoil


FAULTS = {
    "a missing block": (without_block, r"lacks 15: layer3\.2\.conv1\.weight"),
    "a transposed weight": (
        transposed,
        r"wrong shape of 1: layer1\.0\.conv3\.weight \(8, 256, 1, 1\) instead of \(256, 8, 1, 1\)",
    ),
    "a renamed prefix": (renamed, r"lacks \d+: conv1\.weight.* unknown \d+: trunk\.|no backbone.*: trunk\."),
    "a prefix renamed in part": (
        renamed_in_part,
        r"lacks \d+: layer4.* unknown \d+: net\.layer4|outside .* nobody knows: net\.layer4",
    ),
    "only the head": (only_the_head, r"lacks \d+: conv1\.weight|holds no backbone|holds no state dict"),
    "a key more": (with_one_more, r"unknown 1: layer5\.weight"),
    "a NaN": (spoiled(math.nan), r"layer2\.3\.bn2\.running_var holds values that aren't finite"),
    "an infinity": (spoiled(math.inf), r"layer2\.3\.bn2\.running_var holds values that aren't finite"),
}


def refusal(method, path):
    """The message with which a file is refused, without its hint."""
    with pytest.raises(WeightsFormatError) as caught:
        load_method(method, checkpoint=path)
    assert path.name in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", METHODS)
def test_faulty_files_are_refused(method, fault, contents, save, tmp_path, untouched):
    change, told = FAULTS[fault]
    content = contents[method]
    keys = change(keys_of(content), PREFIXES.get(method, ""))
    path = save(with_keys(content, keys), tmp_path / "faulty.pth", form_of(method))
    assert re.search(told, refusal(method, path))
    assert untouched()


@pytest.mark.parametrize("method", METHODS)
def test_files_of_another_width_are_refused(method, save, tmp_path, watch):
    untouched = watch("real")
    wide = hollow(torchvision.models.wide_resnet50_2, CLASSES.get(method))
    path = save(LAYOUTS[method](wide), tmp_path / "wide.pth", form_of(method))
    assert re.search(
        r"wrong shape of \d+: layer1\.0\.conv1\.weight \(128, 64, 1, 1\) instead of \(64, 64, 1, 1\)",
        refusal(method, path),
    )
    assert untouched()


@pytest.mark.parametrize("kept", [0, 10, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_truncated_files_are_refused(method, kept, contents, save, tmp_path, untouched):
    path = save(contents[method], tmp_path / "cut.pth", form_of(method))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    assert "can't be read as plain tensors" in refusal(method, path)
    assert untouched()


@pytest.fixture(scope="module")
def files(contents, save, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {
        layout: save(content, folder / f"{layout}.pth", form_of(layout))
        for layout, content in contents.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_other_methods_file_is_refused(method, files, untouched):
    for layout, path in files.items():
        if layout.partition(",")[0] != method:
            message = refusal(method, path)
            assert re.search(r"lacks \d|unknown \d|wrong shape|no backbone|nobody knows|order", message), (
                layout
            )
            assert untouched(), layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_own_file_of_the_real_shapes_is_taken(layout, networks, watch, save, tmp_path):
    untouched = watch("real")
    content = LAYOUTS[layout](hollow(torchvision.models.resnet50, CLASSES.get(layout)))
    load_method(layout.partition(",")[0], checkpoint=save(content, tmp_path / "own.pth", form_of(layout)))
    assert not untouched()
    assert not any(
        parameter.any() for parameter in networks["real"].parameters()
    )  # The file's are all zeros.


def test_a_first_versions_head_gives_a_moco_file_away(narrow, contents, save, tmp_path):
    keys = dict(contents["mocov2"]["state_dict"])
    for encoder in ("encoder_q", "encoder_k"):
        del keys[f"module.{encoder}.fc.0.weight"], keys[f"module.{encoder}.fc.0.bias"]
        for part in ("weight", "bias"):
            keys[f"module.{encoder}.fc.{part}"] = keys.pop(f"module.{encoder}.fc.2.{part}")
    path = save({"state_dict": keys}, tmp_path / "moco_v1.pth.tar")
    assert "unknown 2: fc.weight, fc.bias" in refusal("mocov2", path)


def test_several_prototypes_give_a_deepcluster_file_away(narrow, contents, save, tmp_path):
    keys = dict(contents["swav"])
    keys["module.prototypes.prototypes0.weight"] = keys.pop("module.prototypes.weight")
    path = save(keys, tmp_path / "deepcluster.pth.tar")
    assert "unknown 1: prototypes.prototypes0.weight" in refusal("swav", path)


def test_orders():
    names = ["layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.downsample.0.weight"]
    assert key_order(names) == "torchvision's"
    assert key_order([names[2], *names[:2]]) == "simclr-converter's"
    assert key_order(sorted(names)) == "no network's"
    assert key_order(names[:2]) == "no network's"


@pytest.mark.parametrize("method", METHODS)
def test_cards_state_the_papers_facts(method):
    card = method_registry(plugins=False).get(method).card
    assert card.feature_dim == 2048
    assert card.licence and card.source and card.training_scale and card.training_source
    own = {"pool"} if method == "simclr" else set()
    assert set(card.options) == {"checkpoint", "part"} | own
