"""Fixtures that the tests of methods share: pictures, files, comparisons, and transformers written by hand.

Nothing here calls the product or timm. The transformers are functions of the tensors in a file, in float64.
"""

from __future__ import annotations

import functools
import math
import pickle
import struct
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional

WIDTH, HEADS, DEPTH = 192, 3, 2
"""Of the small transformer that most tests build: all there is to get wrong, in a fraction of the time."""


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """The hub's local cache, empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def draw_images():
    """Draw noise, (N, 3, H, W) float32 RGB in [0, 1]."""

    def draw(height=224, width=None, count=2):
        return torch.rand((count, 3, height, width or height), generator=torch.Generator().manual_seed(0))

    return draw


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
def normalise():
    """Subtract a mean and divide by a standard deviation, per channel, in float64."""

    def run(images, mean, std):
        as_channels = [torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std)]
        return (images.double() - as_channels[0]) / as_channels[1]

    return run


@pytest.fixture(scope="session")
def distances():
    """Return by how much features differ, relative to what is expected: by norm, and by largest number."""

    def measure(found, expected):
        difference, expected = found.double() - expected.double(), expected.double()
        norms = float(difference.norm() / expected.norm())
        return norms, float(difference.abs().max() / expected.abs().max())

    return measure


@pytest.fixture(scope="session")
def assert_same(distances):
    """Check that features are what is expected, by either measure."""

    def check(found, expected, tolerance=1e-4):
        assert found.shape == expected.shape
        assert max(distances(found, expected)) < tolerance

    return check


@pytest.fixture(scope="session")
def assert_other(distances):
    """Check that features would show a fault, by either measure."""

    def check(found, expected, least=1e-2):
        assert min(distances(found, expected)) > least

    return check


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


def _changed(content, name, change):
    return content | {name: change(content[name].clone())}


def _without(content, part):
    return {name: tensor for name, tensor in content.items() if part not in name}


def _spoiled(content, name):
    def spoil(tensor):
        tensor.view(-1)[5] = float("nan")
        return tensor

    return _changed(content, name, spoil)


@pytest.fixture(scope="session")
def edit():
    """Ways to damage a file's tensors: `changed(content, name, change)`, `without(content, part)`, ..."""
    return SimpleNamespace(changed=_changed, without=_without, spoiled=_spoiled)


@pytest.fixture
def shrink(monkeypatch):
    """Make timm build another size wherever the real network is asked for."""

    def patch(**settings):
        monkeypatch.setattr(timm, "create_model", functools.partial(timm.create_model, **settings))

    return patch


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the memory of new networks as it is, which is faster; every number must come from the file."""
    for name in (
        "kaiming_uniform_",
        "kaiming_normal_",
        "trunc_normal_",
        "normal_",
        "uniform_",
        "xavier_uniform_",
    ):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(timm.layers.weight_init, "_trunc_normal_", lambda tensor, *_, **__: tensor)


@pytest.fixture
def small(shrink):
    """timm's ViT-B with two narrow blocks."""
    shrink(depth=DEPTH, embed_dim=WIDTH, num_heads=HEADS)


@pytest.fixture(scope="session")
def draw():
    """Draw weights of given shapes that keep activations near 1."""

    def make(shapes, seed=0):
        random = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, shape in shapes.items():
            if len(shape) == 1 and name.endswith(("weight", "gamma", "running_var")):
                tensors[name] = 0.5 + torch.rand(shape, generator=random)
            elif len(shape) == 1:
                tensors[name] = 0.4 * torch.rand(shape, generator=random) - 0.2
            elif name.endswith(("token", "tokens", "pos_embed", "embedding", "latent", "probe")):
                tensors[name] = 0.5 * torch.randn(shape, generator=random)
            else:
                fan_in = math.prod(shape[1:])
                tensors[name] = torch.randn(shape, generator=random) / fan_in**0.5
        return tensors

    return make


@pytest.fixture(scope="session")
def vit_shapes():
    """Name → shape of a plain ViT-B as facebookresearch/mae saves it, and of transformers built alike."""

    def make(patch=16, tokens=197, blocks="blocks", width=WIDTH, depth=DEPTH, scale=False):
        shapes = {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
        shapes |= {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
        shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
        return shapes | _block_shapes(blocks, width, depth, scale)

    return make


def _block_shapes(blocks, width, depth, scale):
    layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    shapes = {}
    for number in range(depth):
        for layer, (out, into) in layers.items():
            shapes[f"{blocks}.{number}.{layer}.weight"] = (out * width, into * width)
            shapes[f"{blocks}.{number}.{layer}.bias"] = (out * width,)
        for norm in ("norm1", "norm2"):
            shapes[f"{blocks}.{number}.{norm}.weight"] = (width,)
            shapes[f"{blocks}.{number}.{norm}.bias"] = (width,)
        if scale:
            shapes |= {f"{blocks}.{number}.ls{i}.gamma": (width,) for i in (1, 2)}
    return shapes


@pytest.fixture(scope="session")
def transform():
    """Run tokens (N, L, D) through the blocks and the last norm; `turn(head) -> head` rotates q and k."""

    def run(tensors, tokens, eps=1e-6, turn=None, last=True, heads=HEADS):
        given = {name: tensor.double() for name, tensor in tensors.items()}

        def linear(values, name):
            return functional.linear(values, given[f"{name}.weight"], given.get(f"{name}.bias"))

        def norm(values, name):
            return functional.layer_norm(
                values, values.shape[-1:], given[f"{name}.weight"], given[f"{name}.bias"], eps
            )

        count, length, width = tokens.shape
        depth = 1 + max(int(name.split(".")[1]) for name in given if name.startswith("blocks."))
        for number in range(depth):
            block = f"blocks.{number}."
            packed = linear(norm(tokens, f"{block}norm1"), f"{block}attn.qkv")
            q, k, v = packed.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            if turn:
                q, k = turn(q), turn(k)
            weights = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5).softmax(-1)
            mixed = linear((weights @ v).transpose(1, 2).reshape(count, length, width), f"{block}attn.proj")
            tokens = tokens + mixed * given.get(f"{block}ls1.gamma", 1)
            hidden = functional.gelu(linear(norm(tokens, f"{block}norm2"), f"{block}mlp.fc1"))
            tokens = tokens + linear(hidden, f"{block}mlp.fc2") * given.get(f"{block}ls2.gamma", 1)
        return norm(tokens, "norm") if last else tokens

    return run


@pytest.fixture(scope="session")
def embed():
    """Cut normalised images into patches and embed them: (N, L, D), float64."""

    def run(tensors, images):
        weight, bias = (tensors[f"patch_embed.proj.{leaf}"].double() for leaf in ("weight", "bias"))
        return functional.conv2d(images.double(), weight, bias, stride=weight.shape[-1]).flatten(2).mT

    return run


@pytest.fixture(scope="session")
def resample():
    """Resample a positional embedding (1, 1 + L, D), class token first, to a grid of patches, bicubically."""

    def run(position, rows, columns):
        side = math.isqrt(position.shape[1] - 1)
        grid = position[:, 1:].double().mT.unflatten(2, (side, side))
        if (rows, columns) != (side, side):
            grid = functional.interpolate(grid, (rows, columns), mode="bicubic", antialias=True)
        return torch.cat([position[:, :1].double(), grid.flatten(2).mT], dim=1)

    return run
