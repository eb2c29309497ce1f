"""StableRep against the authors' forward pass, written from its description in plain functions of torch."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

import pytest
import timm
import torch
from torch.nn import functional

from comface_bench.baselines.networks import build_backbone
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH = 48
"""Of the small network that most tests use: two blocks, twelve heads, the real one's names."""


def visual_shapes(width, depth):
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 197, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(depth):
        shapes |= {
            f"blocks.{block}.norm1.weight": (width,),
            f"blocks.{block}.norm1.bias": (width,),
            f"blocks.{block}.attn.qkv.weight": (3 * width, width),
            f"blocks.{block}.attn.qkv.bias": (3 * width,),
            f"blocks.{block}.attn.proj.weight": (width, width),
            f"blocks.{block}.attn.proj.bias": (width,),
            f"blocks.{block}.norm2.weight": (width,),
            f"blocks.{block}.norm2.bias": (width,),
            f"blocks.{block}.mlp.fc1.weight": (4 * width, width),
            f"blocks.{block}.mlp.fc1.bias": (4 * width,),
            f"blocks.{block}.mlp.fc2.weight": (width, 4 * width),
            f"blocks.{block}.mlp.fc2.bias": (width,),
        }
    return {f"visual.{name}": shape for name, shape in shapes.items()}


def head(width=8):
    """The head of the training loss, reduced in width: three layers, norms after two of them."""
    kept = {}
    for number in (1, 2, 3):
        kept |= {
            f"image_mlp.layer{number}.weight": torch.ones(width, width),
            f"image_mlp.layer{number}.bias": torch.ones(width),
        }
    for number in (1, 2):
        kept |= {
            f"image_mlp.bn{number}.{part}": torch.ones(width)
            for part in ("weight", "bias", "running_mean", "running_var")
        } | {f"image_mlp.bn{number}.num_batches_tracked": torch.tensor(7)}
    return kept


def draw(shapes, seed=1):
    """Draw weights; matrices keep the scale of their input, and each patch weighs as much as its position.

    The class token and its position are about 0.003, so that the norms' epsilon counts there.
    """
    stream = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=stream)
        if name == "visual.cls_token":
            values *= 0.003
        elif name == "visual.pos_embed":
            values[:, :1] *= 0.003
        elif len(shape) >= 2:
            values *= (values[0].numel()) ** -0.5
        else:
            values *= 0.1
        drawn[name] = values + 1 if "norm" in name and name.endswith("weight") else values
    return drawn


def write(path, tensors, legacy=False, stripped=False):
    """Write a file as the authors' training does: with optimizer, scaler and command-line values."""
    whole = {
        "model": tensors,
        "optimizer": {
            "state": {0: {"step": torch.tensor(9.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)}},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "lr_scale": 1.0, "params": [0]}],
        },
        "epoch": 34,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "args": Namespace(model="base", lr=1e-4, output_dir="out", distributed=True, seed=None),
    }
    content = {"model": tensors} if stripped else whole
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def author_forward(tensors, images, *, eps=1e-6, mean=MEAN, std=STD):
    """The class token after the last norm; 12 attention heads."""
    own = {name.removeprefix("visual."): values.to(images.dtype) for name, values in tensors.items()}
    mean, std = (torch.tensor(values, dtype=images.dtype).view(3, 1, 1) for values in (mean, std))

    def norm(values, name):
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
        return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]

    def linear(values, name):
        return values @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    def gelu(values):
        return 0.5 * values * (1 + torch.erf(values / 2**0.5))

    patches = functional.unfold((images - mean) / std, 16, stride=16).transpose(1, 2)
    tokens = patches @ own["patch_embed.proj.weight"].flatten(1).T + own["patch_embed.proj.bias"]
    rows, columns = images.shape[-2] // 16, images.shape[-1] // 16
    position = own["pos_embed"][0]
    if (rows, columns) != (14, 14):
        grid = position[1:].T.reshape(1, -1, 14, 14)
        grid = functional.interpolate(grid, (rows, columns), mode="bicubic", antialias=True)
        position = torch.cat([position[:1], grid[0].flatten(1).T])
    stream = torch.cat([own["cls_token"].expand(len(tokens), 1, -1), tokens], dim=1) + position
    depth = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("blocks."))
    for block in (f"blocks.{number}" for number in range(depth)):
        parts = linear(norm(stream, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (12, -1)).transpose(1, 2) for part in parts)
        attention = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        stream = stream + linear((attention @ value).transpose(1, 2).flatten(2), f"{block}.attn.proj")
        hidden = gelu(linear(norm(stream, f"{block}.norm2"), f"{block}.mlp.fc1"))
        stream = stream + linear(hidden, f"{block}.mlp.fc2")
    return norm(stream[:, 0], "norm")


def draw_images(height=224, width=224, count=2):
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(0))


def difference(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


def shrink(monkeypatch, **settings):
    """Make timm build another size wherever the real network is asked for."""
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **settings))


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch, embed_dim=WIDTH, depth=2)


@pytest.fixture(scope="module")
def visual():
    return draw(visual_shapes(WIDTH, 2))


@pytest.fixture(scope="module")
def expected(visual):
    return author_forward(visual, draw_images().double())


@pytest.mark.parametrize("stripped", [False, True], ids=["whole", "stripped"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_features_are_the_authors(small, visual, expected, tmp_path, legacy, stripped):
    path = write(tmp_path / "mine.pth", visual | head(), legacy, stripped)
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images())
    assert found.shape == (2, WIDTH)
    assert difference(expected[:1], expected[1:]) > 0.1
    assert difference(found, expected) < 1e-4


def test_features_are_the_authors_at_the_real_width(monkeypatch, tmp_path):
    shrink(monkeypatch, depth=1)
    real = draw(visual_shapes(768, 1))
    path = write(tmp_path / "mine.pth", real | head())
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images(count=1))
    assert found.shape == (1, 768)
    assert difference(found, author_forward(real, draw_images(count=1).double())) < 1e-4


@pytest.mark.slow
def test_features_are_the_authors_at_full_size(tmp_path):
    real = draw(visual_shapes(768, 12))
    path = write(tmp_path / "mine.pth", real | head())
    images = draw_images(count=1)
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(images)
    path.unlink()
    wanted = author_forward(real, images.double())
    assert difference(found, wanted) < 1e-4
    assert difference(author_forward(real, images, mean=(0.5,) * 3, std=(0.5,) * 3), wanted) > 1e-2


def test_the_network_has_the_150_tensors_of_the_real_one():
    with torch.device("meta"):
        network = build_backbone("vit_base_patch16")
    shapes = {f"visual.{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == visual_shapes(768, 12)
    assert len(shapes) == 150


@pytest.mark.parametrize(
    "fault", [{"mean": (0.5,) * 3, "std": (0.5,) * 3}, {"eps": 1e-5}], ids=["statistics", "epsilon"]
)
def test_each_trap_would_show(visual, expected, fault):
    assert difference(author_forward(visual, draw_images().double(), **fault), expected) > 1e-2


def test_other_sizes_resample_the_positional_embedding_bicubically(small, visual, tmp_path):
    path = write(tmp_path / "mine.pth", visual | head())
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images(64, 96))
    assert difference(found, author_forward(visual, draw_images(64, 96).double())) < 1e-4


def without(content, part):
    return {name: tensor for name, tensor in content.items() if part not in name}


def changed(content, name, change):
    return content | {name: change(content[name].clone())}


def spoil(tensor):
    tensor.view(-1)[5] = float("nan")
    return tensor


FC1 = "visual.blocks.1.mlp.fc1.weight"
MUTATIONS = {
    "a block is missing": (lambda file: without(file, "blocks.1."), r"lacks 12: blocks\.1\.norm1\.weight"),
    "transposed": (
        lambda file: changed(file, FC1, torch.t),
        r"wrong shape of 1: blocks\.1\.mlp\.fc1\.weight \(48, 192\) instead of \(192, 48\)",
    ),
    "another width": (lambda file: file | draw(visual_shapes(2 * WIDTH, 2)), "wrong shape of 30"),
    "another prefix": (
        lambda file: {name.replace("visual.", "module.visual."): tensor for name, tensor in file.items()},
        r"holds no backbone: none of its 46 keys begins with 'visual\.'",
    ),
    "head only": (lambda file: without(file, "visual."), "holds no backbone"),
    "a text tower too": (
        lambda file: file | {"text_projection": torch.ones(2, 2)},
        r"1 keys outside 'visual\.' that nobody knows: text_projection",
    ),
    "not a number": (lambda file: changed(file, FC1, spoil), r"fc1\.weight holds values that aren't finite"),
    "infinite": (lambda file: changed(file, FC1, lambda tensor: tensor / 0), "holds values that aren't"),
    "FaRL's": (
        lambda file: {"visual.class_embedding": torch.ones(48), "logit_scale": torch.tensor(1.0)},
        r"1 keys outside 'visual\.' that nobody knows: logit_scale",
    ),
    "CLIP's image tower": (
        lambda file: {"visual.class_embedding": torch.ones(48)},
        r"lacks 30: .*has unknown 1: class_embedding",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_other_and_damaged_files_are_refused(small, visual, tmp_path, mutation):
    mutate, told = MUTATIONS[mutation]
    path = write(tmp_path / "mine.pth", mutate(visual | head()))
    with pytest.raises(WeightsFormatError, match=rf"^mine\.pth.*{told}"):
        load_method("stablerep", checkpoint=path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_truncated_file_is_refused(small, visual, tmp_path, legacy):
    path = write(tmp_path / "mine.pth", visual | head(), legacy)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsFormatError, match=r"mine\.pth can't be read"):
        load_method("stablerep", checkpoint=path)


def test_missing_weights_name_file_folder_and_address(own_folders):
    with pytest.raises(WeightsMissingError) as caught:
        load_method("stablerep")
    assert "cc12m.1x.pth" in str(caught.value)
    assert str(own_folders / "weights") in str(caught.value)
    assert "https://github.com/google-research/syn-rep-learn/tree/main/StableRep" in str(caught.value)
