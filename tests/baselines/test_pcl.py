"""PCL against the authors' forward pass, written from the description of its layers in functions of torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from comface_bench.baselines.pcl import build_pcl
from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

CONVOLUTIONS = {
    "conv1.0": (64, 3, 7),
    "conv1.2": (64, 64, 3),
    "layer1.0": (64, 64, 3),
    "layer1.2.g": (64, 64, 1),
    "layer1.2.theta": (64, 64, 1),
    "layer1.2.phi": (64, 64, 1),
    "layer1.3": (64, 64, 3),
    "layer2_1.0": (128, 64, 3),
    "layer2_1.2.g": (128, 128, 1),
    "layer2_1.2.theta": (128, 128, 1),
    "layer2_1.2.phi": (128, 128, 1),
    "layer2_1.3": (128, 128, 3),
    "resblock1.conv1": (128, 128, 3),
    "resblock1.conv2": (128, 128, 3),
    "resblock2.conv1": (128, 128, 3),
    "resblock2.conv2": (128, 128, 3),
    "layer2_2.0": (128, 128, 3),
    "layer2_2.2": (128, 128, 3),
    "layer3_1.0": (256, 128, 3),
    "layer3_1.2": (128, 256, 3),
    "layer3_2_exp.0": (128, 128, 3),
    "layer3_2_exp.2": (128, 128, 3),
    "layer3_2_pose.0": (128, 128, 3),
    "layer3_2_pose.2": (128, 128, 3),
}
"""Name → channels out, channels in, kernel, as in the authors' files."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def encoder():
    """The encoder's tensors, at a scale that keeps what flows through."""
    stream = torch.Generator().manual_seed(2)
    tensors = {}
    for name, (made, given, kernel) in CONVOLUTIONS.items():
        weight = torch.randn((made, given, kernel, kernel), generator=stream)
        tensors[f"{name}.weight"] = weight * (2 / (given * kernel**2)) ** 0.5
        tensors[f"{name}.bias"] = 0.1 * torch.randn(made, generator=stream)
    return tensors


def heads(width=16):
    """Tensors that pre-training saves beside the encoder, reduced in width."""
    kept = {}
    for name in ("exp_fc", "pose_fc"):
        kept |= {
            f"module.{name}.0.weight": torch.ones(width, width),
            f"module.{name}.0.bias": torch.ones(width),
            f"module.{name}.2.weight": torch.ones(8, width),
            f"module.{name}.2.bias": torch.ones(8),
            f"module.{name}.3.weight": torch.ones(8),
            f"module.{name}.3.bias": torch.ones(8),
            f"module.{name}.3.running_mean": torch.ones(8),
            f"module.{name}.3.running_var": torch.ones(8),
            f"module.{name}.3.num_batches_tracked": torch.tensor(3),
        }
    kept |= {"module.decoder.fc.weight": torch.ones(8, width), "module.decoder.fc.bias": torch.ones(8)}
    return kept | {"module.decoder.model.2.weight": torch.ones(4, 8, 3, 3)}


def pretrained(encoder):
    return {f"module.encoder.{name}": tensor for name, tensor in encoder.items()} | heads()


def linear_eval(encoder):
    """Tensors that the authors' linear evaluation saves: no prefix, and its classifier."""
    classifier = {"weight": torch.ones(7, 6272), "bias": torch.ones(7)}
    return encoder | {f"linear_classifier.{name}": tensor for name, tensor in classifier.items()}


@pytest.fixture
def write(save, tmp_path):
    """Write a file as the authors' training does: tensors under `state_dict`."""
    return lambda tensors, form="zip": save(
        {"epoch": 1001, "state_dict": tensors}, tmp_path / "best.pth", form
    )


def author_forward(tensors, images):
    """The trunk's map, (N, 128, H/16, W/16), in the images' precision."""
    own = {name: values.to(images.dtype) for name, values in tensors.items()}

    def convolve(values, name, stride=1):
        weight = own[f"{name}.weight"]
        return functional.conv2d(values, weight, own[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def act(values):
        return torch.where(values > 0, values, 0.1 * values)

    def attend(values, name):
        flat = [
            torch.einsum("oc,nchw->nohw", own[f"{name}.{part}.weight"][:, :, 0, 0], values).flatten(2)
            + own[f"{name}.{part}.bias"][:, None]
            for part in ("g", "theta", "phi")
        ]
        g = flat[0].exp() / flat[0].exp().sum(1, keepdim=True)
        theta = flat[1].exp() / flat[1].exp().sum(2, keepdim=True)
        likeness = torch.einsum("ncp,ndp->ncd", flat[2], theta)
        return act(values + torch.einsum("ncd,ndp->ncp", likeness, g).view_as(values))

    trunk = act(convolve(act(convolve(images, "conv1.0", 2)), "conv1.2"))
    trunk = attend(act(convolve(trunk, "layer1.0")), "layer1.2")
    trunk = act(convolve(trunk, "layer1.3"))
    trunk = attend(act(convolve(trunk, "layer2_1.0", 2)), "layer2_1.2")
    trunk = act(convolve(trunk, "layer2_1.3"))
    for block in ("resblock1", "resblock2"):
        trunk = act(trunk + convolve(act(convolve(trunk, f"{block}.conv1")), f"{block}.conv2"))
    for layer in ("layer2_2", "layer3_1"):
        trunk = act(convolve(act(convolve(trunk, f"{layer}.0", 2)), f"{layer}.2"))
    return trunk


@pytest.mark.parametrize("layout", [pretrained, linear_eval])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_features_are_the_authors(encoder, write, draw_images, assert_same, assert_other, layout, form):
    path = write(layout(encoder), form)
    trunk = author_forward(encoder, draw_images(64).double())
    with torch.no_grad():
        flat = load_method("pcl", checkpoint=path)(draw_images(64))
        pooled = load_method("pcl", checkpoint=path, feature="pooled")(draw_images(64))
    assert flat.shape == (2, 2048)
    assert pooled.shape == (2, 128)
    assert_other(trunk[:1], trunk[1:], 0.1)
    assert_same(flat, trunk.reshape(2, -1))
    assert_same(pooled, trunk.mean((2, 3)))


@pytest.mark.parametrize(("size", "length"), [(64, 2048), (100, 6272), (112, 6272), (224, 25088)])
def test_the_flat_feature_grows_with_the_image(encoder, write, draw_images, assert_same, size, length):
    path = write(pretrained(encoder))
    images = draw_images(size, count=1)
    with torch.no_grad():
        found = load_method("pcl", checkpoint=path)(images)
    assert found.shape == (1, length)
    assert_same(found, author_forward(encoder, images.double()).reshape(1, -1))


def test_images_need_not_be_square(encoder, write, draw_images, assert_same):
    path = write(pretrained(encoder))
    with torch.no_grad():
        found = load_method("pcl", checkpoint=path)(draw_images(48, 90))
    assert_same(found, author_forward(encoder, draw_images(48, 90).double()).reshape(2, -1))


def test_imagenets_statistics_would_show(encoder, draw_images, normalise, assert_other):
    naive = author_forward(encoder, normalise(draw_images(64), *IMAGENET))
    assert_other(naive, author_forward(encoder, draw_images(64).double()), 0.1)


def test_the_network_counts_as_published(encoder):
    network = build_pcl()
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_469_760
    assert len(network.state_dict()) == 48
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in encoder.items()}


def test_every_weight_that_stays_bears_on_the_feature(encoder, write, draw_images):
    loaded = load_method("pcl", checkpoint=write(pretrained(encoder)))
    assert loaded.parameter_count() == 2_469_760 - 4 * (128 * 128 * 9 + 128)
    loaded(draw_images(64)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in loaded.parameters())


FIRST = "module.encoder.layer3_1.0.weight"
MUTATIONS = {
    "a block is missing": (
        lambda file, edit: edit.without(file, "resblock2"),
        r"lacks 4: resblock2\.conv1\.weight",
    ),
    "a head is missing": (
        lambda file, edit: edit.without(file, "layer3_2_pose"),
        r"lacks 4: layer3_2_pose\.0\.weight",
    ),
    "the other, one-headed network": (
        lambda file, edit: {
            name.replace("layer3_2_exp", "layer3_2"): tensor
            for name, tensor in edit.without(file, "layer3_2_pose").items()
        },
        r"lacks 8: layer3_2_exp\.0\.weight.*has unknown 4: layer3_2\.0\.weight",
    ),
    "transposed": (
        lambda file, edit: edit.changed(file, FIRST, lambda tensor: tensor.transpose(0, 1)),
        r"wrong shape of 1: layer3_1\.0\.weight \(128, 256, 3, 3\) instead of \(256, 128, 3, 3\)",
    ),
    "another width": (
        lambda file, edit: edit.changed(file, FIRST, lambda tensor: tensor[:128]),
        "wrong shape of 1",
    ),
    "another prefix": (
        lambda file, edit: {
            name.replace("module.encoder.", "encoder."): tensor for name, tensor in file.items()
        },
        r"lacks 48: .*has unknown 48: encoder\.conv1",
    ),
    "heads only": (lambda file, edit: edit.without(file, "encoder."), "holds no backbone"),
    "classifier only": (lambda file, edit: {"linear_classifier.bias": torch.ones(7)}, "holds no backbone"),
    "a stranger among them": (
        lambda file, edit: file | {"module.third_fc.weight": torch.ones(2)},
        r"1 keys outside 'module\.encoder\.' that nobody knows: module\.third_fc\.weight",
    ),
    "not a number": (lambda file, edit: edit.spoiled(file, FIRST), r"layer3_1\.0\.weight holds values"),
    "infinite": (
        lambda file, edit: edit.changed(file, FIRST, lambda tensor: tensor / 0),
        "holds values that aren't",
    ),
    "a ResNet's": (
        lambda file, edit: {"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.ones(64)},
        r"lacks 48: .*has unknown 2: conv1\.weight, bn1\.weight",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_other_and_damaged_files_are_refused(encoder, write, edit, mutation):
    mutate, told = MUTATIONS[mutation]
    path = write(mutate(pretrained(encoder), edit))
    with pytest.raises(WeightsFormatError, match=rf"^best\.pth.*{told}"):
        load_method("pcl", checkpoint=path)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_truncated_file_is_refused(encoder, write, form):
    path = write(pretrained(encoder), form)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsFormatError, match=r"best\.pth can't be read"):
        load_method("pcl", checkpoint=path)
