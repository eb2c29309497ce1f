"""What tests of the methods beyond the paper share: random weights and transformers written out by hand.

Nothing here calls the product or timm. The transformers are functions of the tensors in a file, in float64.
"""

from __future__ import annotations

import functools
import math

import pytest
import timm
import torch
from torch.nn import functional

WIDTH, HEADS, DEPTH = 192, 3, 2


@pytest.fixture
def small(monkeypatch):
    """timm's ViT-B with two narrow blocks: all there is to get wrong, in a fraction of the time."""
    settings = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS}
    monkeypatch.setattr(timm, "create_model", functools.partial(timm.create_model, **settings))


@pytest.fixture(scope="session")
def faces():
    """Make pictures (N, 3, H, W) in [0, 1] whose channels differ."""

    def make(size, count=2):
        pictures = torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(1))
        return pictures * torch.tensor([1.0, 0.6, 0.3]).view(1, 3, 1, 1)

    return make


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
        return shapes | block_shapes(blocks, width, depth, scale)

    return make


def block_shapes(blocks, width, depth, scale):
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

    def run(tensors, tokens, eps=1e-6, turn=None, last=True):
        given = {name: tensor.double() for name, tensor in tensors.items()}

        def linear(values, name):
            return functional.linear(values, given[f"{name}.weight"], given.get(f"{name}.bias"))

        def norm(values, name):
            return functional.layer_norm(
                values, values.shape[-1:], given[f"{name}.weight"], given[f"{name}.bias"], eps
            )

        count, length, width = tokens.shape
        for number in range(DEPTH):
            block = f"blocks.{number}."
            packed = linear(norm(tokens, f"{block}norm1"), f"{block}attn.qkv")
            q, k, v = packed.view(count, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            if turn:
                q, k = turn(q), turn(k)
            weights = (q @ k.transpose(-1, -2) / (width // HEADS) ** 0.5).softmax(-1)
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
def normalise():
    """Subtract a mean and divide by a standard deviation, per channel."""

    def run(images, mean, std):
        as_channels = [torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std)]
        return (images.double() - as_channels[0]) / as_channels[1]

    return run


@pytest.fixture(scope="session")
def apart():
    """How far features differ, relative to the largest expected number."""

    def measure(found, expected):
        return float((found.double() - expected).abs().max() / expected.abs().max())

    return measure
