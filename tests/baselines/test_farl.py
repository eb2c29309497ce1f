"""FaRL against the authors' forward pass, written from its description in plain functions of torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from comface_bench.baselines.farl import build_clip_vit, rename_clip_keys
from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH = 48
"""Of the small tower that most tests use: two blocks, twelve heads, the real one's names."""


def block_shapes(prefix, width):
    return {
        f"{prefix}attn.in_proj_weight": (3 * width, width),
        f"{prefix}attn.in_proj_bias": (3 * width,),
        f"{prefix}attn.out_proj.weight": (width, width),
        f"{prefix}attn.out_proj.bias": (width,),
        f"{prefix}ln_1.weight": (width,),
        f"{prefix}ln_1.bias": (width,),
        f"{prefix}mlp.c_fc.weight": (4 * width, width),
        f"{prefix}mlp.c_fc.bias": (4 * width,),
        f"{prefix}mlp.c_proj.weight": (width, 4 * width),
        f"{prefix}mlp.c_proj.bias": (width,),
        f"{prefix}ln_2.weight": (width,),
        f"{prefix}ln_2.bias": (width,),
    }


def image_shapes(width, depth):
    shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (197, width),
        "visual.proj": (width, 512),
        "visual.conv1.weight": (width, 3, 16, 16),
        "visual.ln_pre.weight": (width,),
        "visual.ln_pre.bias": (width,),
        "visual.ln_post.weight": (width,),
        "visual.ln_post.bias": (width,),
    }
    for block in range(depth):
        shapes |= block_shapes(f"visual.transformer.resblocks.{block}.", width)
    return shapes


def text_shapes(width=8):
    shapes = {
        "positional_embedding": (77, width),
        "text_projection": (width, 512),
        "logit_scale": (),
        "token_embedding.weight": (64, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for block in range(12):
        shapes |= block_shapes(f"transformer.resblocks.{block}.", width)
    return shapes


def masked_shapes(width=8):
    shapes = {
        "visual.mask_token": (width,),
        "visual.ln_lm.weight": (width,),
        "visual.ln_lm.bias": (width,),
        "visual.lm_head.weight": (64, width),
        "visual.lm_head.bias": (64,),
    }
    return shapes | block_shapes("visual.lm_transformer.resblocks.0.", width)


def draw_tower(shapes, seed=1):
    """Draw weights, of scales at which each trap shows in the features.

    Embeddings and the weight of `ln_pre` are about 0.01, so that the norms divide by a variance of 1e-4, in
    which their epsilon counts; what the activation takes lies about -1, where the two kinds of GELU differ
    most, and what comes out of it weighs three times the rest. Other matrices keep the scale of their input.
    """
    stream = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=stream)
        if "embedding" in name or "ln_pre" in name:
            values *= 0.01
        elif len(shape) >= 2:
            inputs = shape[0] if name.endswith("proj") else values[0].numel()
            values *= (3 if "c_proj" in name else 1) * inputs**-0.5
        else:
            values *= 0.1
        if "ln_" in name and name.endswith("weight"):
            values += 0.01 if "ln_pre" in name else 1.0
        drawn[name] = values - 1 if name.endswith("c_fc.bias") else values
    return drawn


def quick_gelu(values):
    return values * torch.sigmoid(1.702 * values)


def author_forward(tensors, images, *, activation=quick_gelu, eps=1e-5, mean=MEAN, std=STD):
    """The class token after `ln_post`, and its projection; 12 attention heads."""
    own = {name.removeprefix("visual."): values.to(images.dtype) for name, values in tensors.items()}
    mean, std = (torch.tensor(values, dtype=images.dtype).view(3, 1, 1) for values in (mean, std))

    def norm(values, name):
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
        return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]

    def linear(values, name):
        return values @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    patches = functional.unfold((images - mean) / std, 16, stride=16).transpose(1, 2)
    tokens = patches @ own["conv1.weight"].flatten(1).T
    rows, columns = images.shape[-2] // 16, images.shape[-1] // 16
    position = own["positional_embedding"]
    if (rows, columns) != (14, 14):
        grid = position[1:].T.reshape(1, -1, 14, 14)
        grid = functional.interpolate(grid, (rows, columns), mode="bicubic", antialias=True)
        position = torch.cat([position[:1], grid[0].flatten(1).T])
    first = own["class_embedding"].expand(len(tokens), 1, -1)
    stream = norm(torch.cat([first, tokens], dim=1) + position, "ln_pre")
    depth = 1 + max(int(name.split(".")[2]) for name in own if name.startswith("transformer.resblocks."))
    for block in (f"transformer.resblocks.{number}" for number in range(depth)):
        joint = norm(stream, f"{block}.ln_1") @ own[f"{block}.attn.in_proj_weight"].T
        parts = (joint + own[f"{block}.attn.in_proj_bias"]).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (12, -1)).transpose(1, 2) for part in parts)
        attention = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        mixed = (attention @ value).transpose(1, 2).flatten(2)
        stream = stream + linear(mixed, f"{block}.attn.out_proj")
        hidden = activation(linear(norm(stream, f"{block}.ln_2"), f"{block}.mlp.c_fc"))
        stream = stream + linear(hidden, f"{block}.mlp.c_proj")
    feature = norm(stream[:, 0], "ln_post")
    return feature, feature @ own["proj"]


@pytest.fixture
def narrow(shrink):
    shrink(embed_dim=WIDTH, depth=2)


@pytest.fixture
def write(save, tmp_path):
    """Write a file as it is published: tensors under `state_dict`."""
    return lambda tensors, form="zip": save({"state_dict": tensors}, tmp_path / "mine.pth", form)


@pytest.fixture(scope="module")
def tower():
    return draw_tower(image_shapes(WIDTH, 2))


@pytest.fixture(scope="module")
def content(tower):
    """All that the published file has: image tower, text tower, what predicts masked patches."""
    return tower | draw_tower(text_shapes()) | draw_tower(masked_shapes())


@pytest.fixture(scope="module")
def expected(tower, draw_images):
    return author_forward(tower, draw_images().double())


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", ["farl", "farl-ep64"])
def test_features_are_the_authors(
    narrow, content, expected, write, draw_images, assert_same, assert_other, name, form
):
    path = write(content, form)
    for options, wanted in zip(({}, {"feature": "proj"}), expected, strict=True):
        with torch.no_grad():
            found = load_method(name, checkpoint=path, **options)(draw_images())
        assert found.shape == (2, WIDTH if not options else 512)
        assert_other(wanted[:1], wanted[1:], 0.1)
        assert_same(found, wanted)


def test_features_are_the_authors_at_the_real_width(undrawn, shrink, write, draw_images, assert_same):
    shrink(depth=1)
    real = draw_tower(image_shapes(768, 1))
    path = write(real)
    with torch.no_grad():
        found = load_method("farl", checkpoint=path)(draw_images(count=1))
    assert found.shape == (1, 768)
    assert_same(found, author_forward(real, draw_images(count=1).double())[0])


@pytest.mark.slow
def test_features_are_the_authors_at_full_size(undrawn, write, draw_images, assert_same, assert_other):
    real = draw_tower(image_shapes(768, 12))
    path = write(real | draw_tower(text_shapes()) | draw_tower(masked_shapes()))
    images = draw_images(64, count=1)
    with torch.no_grad():
        found = load_method("farl", checkpoint=path)(images)
    path.unlink()
    wanted, _ = author_forward(real, images.double())
    naive, _ = author_forward(
        real, images, activation=functional.gelu, eps=1e-6, mean=IMAGENET[0], std=IMAGENET[1]
    )
    assert_same(found, wanted)
    assert_other(naive, wanted)


def test_the_network_has_the_tensors_of_the_real_tower():
    with torch.device("meta"):
        network = build_clip_vit(512)
        theirs = {name.removeprefix("visual."): torch.empty(at) for name, at in image_shapes(768, 12).items()}
    wanted = {name: tensor.shape for name, tensor in rename_clip_keys(theirs).items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == wanted


@pytest.mark.parametrize(
    "fault",
    [{"activation": functional.gelu}, {"eps": 1e-6}, {"mean": IMAGENET[0], "std": IMAGENET[1]}],
    ids=["gelu", "epsilon", "statistics"],
)
def test_each_trap_would_show(tower, expected, draw_images, assert_other, fault):
    naive = author_forward(tower, draw_images().double(), **fault)
    for found, wanted in zip(naive, expected, strict=True):
        assert_other(found, wanted)


@pytest.mark.parametrize("size", [(64, 96), (256, 256)])
def test_other_sizes_resample_the_positional_embedding_bicubically(
    narrow, content, tower, write, draw_images, assert_same, size
):
    path = write(content)
    with torch.no_grad():
        found = load_method("farl", checkpoint=path)(draw_images(*size))
    assert_same(found, author_forward(tower, draw_images(*size).double())[0])


def test_a_file_without_the_masked_patches_head_is_taken(
    narrow, tower, expected, write, draw_images, assert_same
):
    path = write(tower | draw_tower(text_shapes()))
    with torch.no_grad():
        found = load_method("farl", checkpoint=path)(draw_images())
    assert_same(found, expected[0])


C_FC = "visual.transformer.resblocks.1.mlp.c_fc.weight"
MUTATIONS = {
    "a block is missing": (
        lambda file, edit: edit.without(file, "visual.transformer.resblocks.1."),
        r"lacks 12: blocks\.1",
    ),
    "no projection": (lambda file, edit: edit.without(file, "visual.proj"), r"lacks 1: head\.weight"),
    "one block more": (
        lambda file, edit: file | draw_tower(block_shapes("visual.transformer.resblocks.2.", WIDTH)),
        r"has unknown 12: blocks\.2",
    ),
    "transposed": (
        lambda file, edit: edit.changed(file, C_FC, torch.t),
        r"wrong shape of 1: blocks\.1\.mlp\.fc1\.weight",
    ),
    "transposed projection": (
        lambda file, edit: edit.changed(file, "visual.proj", torch.t),
        r"shape of 1: head\.weight",
    ),
    "another width": (lambda file, edit: file | draw_tower(image_shapes(2 * WIDTH, 2)), "wrong shape of 32"),
    "another grid": (
        lambda file, edit: edit.changed(file, "visual.positional_embedding", lambda tensor: tensor[:50]),
        r"shape of 1: pos_embed \(1, 50, 48\) instead of \(1, 197, 48\)",
    ),
    "another prefix": (
        lambda file, edit: {name.replace("visual.", "image."): tensor for name, tensor in file.items()},
        r"holds no backbone: none of its 199 keys begins with 'visual\.'",
    ),
    "text tower only": (lambda file, edit: edit.without(file, "visual."), "holds no backbone"),
    "masked patches' head only": (lambda file, edit: draw_tower(masked_shapes()), "holds no backbone"),
    "not a number": (
        lambda file, edit: edit.spoiled(file, C_FC),
        "c_fc.weight holds values that aren't finite",
    ),
    "infinite": (
        lambda file, edit: edit.changed(file, C_FC, lambda tensor: tensor / 0),
        "c_fc.weight holds values",
    ),
    "StableRep's": (
        lambda file, edit: {
            "visual.cls_token": torch.zeros(1, 1, 48),
            "image_mlp.layer1.bias": torch.zeros(8),
        },
        r"1 keys outside 'visual\.' that nobody knows: image_mlp\.layer1\.bias",
    ),
    "a ResNet's": (lambda file, edit: {"conv1.weight": torch.zeros(64, 3, 7, 7)}, "holds no backbone"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_other_and_damaged_files_are_refused(narrow, content, write, edit, mutation):
    mutate, told = MUTATIONS[mutation]
    path = write(mutate(content, edit))
    with pytest.raises(WeightsFormatError, match=rf"^mine\.pth.*{told}"):
        load_method("farl", checkpoint=path)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_truncated_file_is_refused(narrow, content, write, form):
    path = write(content, form)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsFormatError, match=r"mine\.pth can't be read"):
        load_method("farl", checkpoint=path)
