"""What the ResNet-50 baselines' tests share: random weights, the authors' files, an independent network.

Nothing here calls the product. The network is written out in functions and float64; the files are laid out
as the authors' own code saves them.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import struct
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}


def shapes(width="resnet50", classes=None):
    """Name → shape of a ResNet-50 with a classifier, or without one."""
    with torch.device("meta"):
        network = getattr(torchvision.models, width)(weights=None, num_classes=classes or 1)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return found if classes else {name: shape for name, shape in found.items() if not name.startswith("fc.")}


@pytest.fixture(scope="session")
def draw_resnet():
    """Draw random weights under which features neither vanish nor explode.

    `scale` is how far inputs spread: the first normalisation takes it out, as training would have.
    """

    def draw(seed, classes=None, scale=1.0):
        random = torch.Generator().manual_seed(seed)

        def uniform(low, high, shape):
            return low + (high - low) * torch.rand(shape, generator=random)

        tensors = {}
        for name, shape in shapes(classes=classes).items():
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
                tensors[name] = (
                    uniform(0.5, 1.2, shape) if name.endswith("weight") else uniform(-0.3, 0.3, shape)
                )
        return tensors

    return draw


@pytest.fixture(scope="session")
def hollow_resnet():
    """Weights of the right shapes that take no room: all are views of one stretch of zeros."""

    def make(width="resnet50", classes=None):
        wanted = shapes(width, classes)
        zeros = torch.zeros(max(map(math.prod, wanted.values())), dtype=torch.float16)
        views = {shape: zeros[: math.prod(shape)].view(shape) for shape in set(wanted.values())}
        return {name: views[shape] for name, shape in wanted.items()}

    return make


@pytest.fixture(scope="session")
def reference():
    """The network in float64: `reference(tensors, normalised images, pool, halved_by)` → features.

    Args of the function: `pool`, the max-pool's padding, is "around" (torch), "after" (TensorFlow's SAME,
    for even maps) or "none" (Caffe: windows may hang over the edge, where there is nothing); `halved_by`
    is the convolution of a block that has its stride.
    """

    def run(tensors, images, pool="around", halved_by="conv2"):
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

    return run


@pytest.fixture(scope="session")
def photos():
    """Draw pictures, (N, H, W, 3) uint8 RGB: coloured gradients, as photographs have, with noise."""

    def draw(size, count=2, seed=0):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0:size, 0:size] / size
        waves = [np.sin(3 * (a * x + b * y) + c) for a, b, c in random.uniform(-3, 3, (3 * count, 3))]
        smooth = np.stack(waves).reshape(count, 3, size, size).transpose(0, 2, 3, 1)
        noisy = np.array([150, 110, 90]) + 80 * smooth + random.normal(0, 12, smooth.shape)
        return noisy.clip(0, 255).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def as_input():
    """Turn pictures into what encoders take: float32 RGB in [0, 1], (N, 3, H, W)."""
    return lambda pictures: torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 255


@pytest.fixture(scope="session")
def distance():
    """Relative distance of features from what is expected: the norms' ratio."""
    return lambda found, expected: float((found - expected).norm() / expected.norm())


ONES = torch.ones(10_000_000, dtype=torch.float16)


def _ones(*shape):
    """What stands for everything but the backbone; in a file, it all takes the room of one tensor."""
    return ONES[: math.prod(shape)].view(shape)


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
    head = _head("module.projection_head", 2048, 128)
    return _prefixed("module.", tensors) | head | {"module.prototypes.weight": _ones(3000, 128)}


def _bulat(tensors):
    head = _head("module.projection_net.net", 2048, 128)
    keys = _prefixed("module.base_net.", tensors) | head | {"module.prototypes.weight": _ones(3000, 128)}
    return {"epoch": 100, "state_dict": keys, "optimizer": _optimizer(tensors)}


def _moco(tensors, wrapper="module."):
    keys = {}
    for encoder in ("encoder_q", "encoder_k"):
        prefix = f"{wrapper}{encoder}."
        own = tensors if encoder == "encoder_q" else {name: _ones(*tensors[name].shape) for name in tensors}
        keys |= _prefixed(prefix, own)
        for layer, out in (("fc.0", 2048), ("fc.2", 128)):
            keys |= {
                f"{prefix}{layer}.weight": _ones(out, 2048),
                f"{prefix}{layer}.bias": _ones(out),
            }
    keys |= {f"{wrapper}queue": _ones(128, 65536), f"{wrapper}queue_ptr": torch.zeros(1).long()}
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
    "mocov2, one process": lambda tensors: _moco(tensors, wrapper=""),
    "swav": _swav,
    "swav, training": lambda tensors: {
        "epoch": 200,
        "state_dict": _swav(tensors),
        "optimizer": _optimizer(tensors),
    },
    "barlowtwins": dict,
    "barlowtwins, training": _barlow_training,
    "bulat": _bulat,
}


@pytest.fixture(scope="session")
def lay_out():
    """Return what the authors' code saves: `lay_out(layout, tensors)`."""
    return lambda layout, tensors: LAYOUTS[layout](tensors)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote for arrays: byte strings, and numpy's old module."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _string(self, text):
        data = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = _string

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[type(lambda: None)] = save_global


@pytest.fixture(scope="session")
def save():
    """Write a checkpoint: `save(content, path, form)`; the form is zip, legacy or python2."""

    def write(content, path, form="zip"):
        if form == "python2":
            with path.open("wb") as file:
                Python2Pickler(file, protocol=2).dump(content)
        else:
            torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
        return path

    return write


@pytest.fixture(scope="session")
def temporary(tmp_path_factory, save):
    """Write a large checkpoint and remove it in the end: `with temporary(content, form) as path`."""

    @contextlib.contextmanager
    def write(content, form="zip"):
        path = save(content, tmp_path_factory.mktemp("weights") / "mine.pth", form)
        yield path
        path.unlink()

    return write
