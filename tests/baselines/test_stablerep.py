"""StableRep against the authors' forward pass, from files as their training writes them."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from comface_bench.baselines import stablerep
from comface_bench.baselines.networks import build_backbone
from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


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


@pytest.fixture
def write(save, tmp_path):
    """Write a file as the authors' training does: with optimizer, scaler and command-line values."""

    def run(tensors, form="zip", stripped=False):
        whole = {
            "model": tensors,
            "optimizer": {
                "state": {
                    0: {"step": torch.tensor(9.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)}
                },
                "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "lr_scale": 1.0, "params": [0]}],
            },
            "epoch": 34,
            "scaler": {"scale": 65536.0, "growth_factor": 2.0},
            "args": Namespace(model="base", lr=1e-4, output_dir="out", distributed=True, seed=None),
        }
        content = {"model": tensors} if stripped else whole
        return save(content, tmp_path / "mine.pth", form)

    return run


@pytest.fixture(scope="session")
def draw_visual(draw, vit_shapes):
    """Draw the image tower's weights, `visual.…`.

    The class token and its position are about 0.003, so that the norms' epsilon counts there.
    """

    def run(**size):
        tensors = draw(vit_shapes(**size), 1)
        tensors["cls_token"] *= 0.006
        tensors["pos_embed"][:, :1] *= 0.006
        return {f"visual.{name}": tensor for name, tensor in tensors.items()}

    return run


@pytest.fixture(scope="session")
def author_forward(transform, embed, resample, normalise):
    """Compute the class token after the last norm."""

    def run(tensors, images, heads=3, eps=1e-6, statistics=IMAGENET):
        own = {name.removeprefix("visual."): values for name, values in tensors.items()}
        patches = embed(own, normalise(images, *statistics))
        position = resample(own["pos_embed"], *(side // 16 for side in images.shape[-2:]))
        first = own["cls_token"].double().expand(len(images), 1, -1)
        return transform(own, torch.cat([first, patches], dim=1) + position, eps, heads=heads)[:, 0]

    return run


@pytest.fixture(scope="module")
def visual(draw_visual):
    return draw_visual()


@pytest.fixture(scope="module")
def expected(author_forward, visual, draw_images):
    return author_forward(visual, draw_images())


@pytest.mark.parametrize("stripped", [False, True], ids=["whole", "stripped"])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_features_are_the_authors(
    small, visual, expected, write, draw_images, assert_same, assert_other, form, stripped
):
    path = write(visual | head(), form, stripped)
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images())
    assert found.shape == (2, 192)
    assert_other(expected[:1], expected[1:], 0.1)
    assert_same(found, expected)


def test_features_are_the_authors_at_the_real_width(
    undrawn, shrink, write, draw_visual, author_forward, draw_images, assert_same
):
    shrink(depth=1)
    real = draw_visual(width=768, depth=1)
    path = write(real | head())
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images(count=1))
    assert found.shape == (1, 768)
    assert_same(found, author_forward(real, draw_images(count=1), heads=12))


@pytest.mark.slow
def test_features_are_the_authors_at_full_size(
    undrawn, write, draw_visual, author_forward, draw_images, assert_same, assert_other
):
    real = draw_visual(width=768, depth=12)
    path = write(real | head())
    images = draw_images(64, count=1)
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(images)
    path.unlink()
    wanted = author_forward(real, images, heads=12)
    assert_same(found, wanted)
    assert_other(author_forward(real, images, heads=12, statistics=HALF), wanted)


def test_the_network_takes_the_input_that_the_card_declares(small, visual, write):
    assert load_method("stablerep", checkpoint=write(visual | head())).preprocess == stablerep.CARD.preprocess


def test_the_network_has_the_150_tensors_of_the_real_one(vit_shapes):
    with torch.device("meta"):
        network = build_backbone("vit_base_patch16")
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == vit_shapes(width=768, depth=12)
    assert len(shapes) == 150


@pytest.mark.parametrize("fault", [{"statistics": HALF}, {"eps": 1e-5}], ids=["statistics", "epsilon"])
def test_each_trap_would_show(visual, expected, author_forward, draw_images, assert_other, fault):
    assert_other(author_forward(visual, draw_images(), **fault), expected)


def test_other_sizes_resample_the_positional_embedding_bicubically(
    small, visual, write, author_forward, draw_images, assert_same
):
    path = write(visual | head())
    with torch.no_grad():
        found = load_method("stablerep", checkpoint=path)(draw_images(64, 96))
    assert_same(found, author_forward(visual, draw_images(64, 96)))


FC1 = "visual.blocks.1.mlp.fc1.weight"
MUTATIONS = {
    "a block is missing": (
        lambda file, edit: edit.without(file, "blocks.1."),
        r"lacks 12: blocks\.1\.norm1\.weight",
    ),
    "transposed": (
        lambda file, edit: edit.changed(file, FC1, torch.t),
        r"wrong shape of 1: blocks\.1\.mlp\.fc1\.weight \(192, 768\) instead of \(768, 192\)",
    ),
    "another prefix": (
        lambda file, edit: {
            name.replace("visual.", "module.visual."): tensor for name, tensor in file.items()
        },
        r"holds no backbone: none of its 46 keys begins with 'visual\.'",
    ),
    "head only": (lambda file, edit: edit.without(file, "visual."), "holds no backbone"),
    "a text tower too": (
        lambda file, edit: file | {"text_projection": torch.ones(2, 2)},
        r"1 keys outside 'visual\.' that nobody knows: text_projection",
    ),
    "not a number": (
        lambda file, edit: edit.spoiled(file, FC1),
        r"fc1\.weight holds values that aren't finite",
    ),
    "infinite": (
        lambda file, edit: edit.changed(file, FC1, lambda tensor: tensor / 0),
        "holds values that aren't",
    ),
    "FaRL's": (
        lambda file, edit: {"visual.class_embedding": torch.ones(192), "logit_scale": torch.tensor(1.0)},
        r"1 keys outside 'visual\.' that nobody knows: logit_scale",
    ),
    "CLIP's image tower": (
        lambda file, edit: {"visual.class_embedding": torch.ones(192)},
        r"lacks 30: .*has unknown 1: class_embedding",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_other_and_damaged_files_are_refused(small, visual, write, edit, mutation):
    mutate, told = MUTATIONS[mutation]
    path = write(mutate(visual | head(), edit))
    with pytest.raises(WeightsFormatError, match=rf"^mine\.pth.*{told}"):
        load_method("stablerep", checkpoint=path)


def test_a_file_of_another_width_is_refused(small, visual, write, draw_visual):
    path = write(visual | head() | draw_visual(width=384))
    with pytest.raises(WeightsFormatError, match=r"^mine\.pth.*wrong shape of 30"):
        load_method("stablerep", checkpoint=path)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_truncated_file_is_refused(small, visual, write, form):
    path = write(visual | head(), form)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsFormatError, match=r"mine\.pth can't be read"):
        load_method("stablerep", checkpoint=path)
