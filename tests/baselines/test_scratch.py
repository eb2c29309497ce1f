from __future__ import annotations

import pytest
import torch

from comface_bench.baselines.networks import BACKBONES, build_backbone
from comface_bench.core.errors import UsageError
from comface_bench.engine.encoder import load_method

# Parameters without the classifier, of torchvision's and timm's published topologies.
TOPOLOGIES = {
    "resnet18": (512, 11_176_512),
    "resnet50": (2048, 23_508_032),
    "resnet101": (2048, 42_500_160),
    "vit_base_patch16": (768, 85_798_656),
}


def test_the_papers_backbone_comes_first():
    assert BACKBONES[0] == "resnet50"
    assert set(BACKBONES) == set(TOPOLOGIES)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_topologies(name, draw_images):
    width, parameters = TOPOLOGIES[name]
    encoder = load_method(f"scratch+backbone={name}")
    assert encoder.parameter_count() == parameters
    assert not encoder.training
    with torch.no_grad():
        features = encoder(draw_images(64))
    assert features.shape == (2, width)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert not torch.equal(features[0], features[1])


def test_weights_are_drawn_from_the_seed_and_leave_the_global_stream_alone():
    state = torch.random.get_rng_state()
    first, again, other = (build_backbone("resnet18", seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert not torch.equal(other["conv1.weight"], first["conv1.weight"])
    assert not torch.equal(other["layer4.1.conv2.weight"], first["layer4.1.conv2.weight"])


def test_weights_do_not_depend_on_what_was_drawn_before():
    torch.manual_seed(5)
    torch.rand(3)
    first = build_backbone("resnet18", 1).conv1.weight
    torch.manual_seed(6)
    assert torch.equal(build_backbone("resnet18", 1).conv1.weight, first)


def test_each_repetition_has_a_backbone_of_its_own():
    zero, one = (load_method("scratch", backbone="resnet18", seed=seed) for seed in (0, 1))
    assert not torch.equal(zero.backbone.conv1.weight, one.backbone.conv1.weight)


def test_unknown_backbones_are_refused():
    with pytest.raises(UsageError, match="backbone=vgg: not one of resnet50"):
        build_backbone("vgg")
    with pytest.raises(UsageError, match="backbone=vgg isn't one of"):
        load_method("scratch+backbone=vgg")


def test_the_loader_is_offered_beside_the_baselines():
    import comface_bench.baselines as baselines

    assert baselines.load_method is load_method
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        baselines.nothing  # noqa: B018
