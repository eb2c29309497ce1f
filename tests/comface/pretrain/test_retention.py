"""What keeps a backbone near its start: stages, and both pulls against float64 loops."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from comface_bench.baselines.networks import build_backbone
from comface_bench.comface.model import ComFace
from comface_bench.comface.pretrain.retention import FeaturePull, WeightPull, choose_frozen, list_stages
from comface_bench.core.errors import UsageError


def small():
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("build", "count", "first", "last"),
    [
        (lambda: build_backbone("resnet18", None), 5, ("conv1", "bn1"), ("layer4",)),
        (
            lambda: timm.create_model("tf_efficientnet_lite0", num_classes=0),
            9,
            ("conv_stem", "bn1"),
            ("conv_head", "bn2"),
        ),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2),
            4,
            ("cls_token", "pos_embed", "patch_embed"),
            ("norm",),
        ),
        (small, 2, ("0", "1"), ("3",)),
        (
            lambda: nn.Sequential(build_backbone("resnet18", None), nn.Flatten()),
            5,
            ("0.conv1", "0.bn1"),
            ("0.layer4",),
        ),
        (lambda: nn.Linear(3, 4), 1, ("weight", "bias"), ("weight", "bias")),
    ],
)
def test_stages_are_those_of_the_topology(build, count, first, last):
    backbone = build()
    stages = list_stages(backbone)
    assert (len(stages), stages[0], stages[-1]) == (count, first, last)
    parts = [part for stage in stages for part in stage]
    for name, _ in backbone.named_parameters():
        assert sum(name == part or name.startswith(f"{part}.") for part in parts) == 1, name


def test_parts_are_frozen_by_number_and_by_name():
    backbone = build_backbone("resnet18", None)
    assert choose_frozen(backbone, "") == ()
    assert choose_frozen(backbone, "2") == ("conv1", "bn1", "layer1")
    assert choose_frozen(backbone, "layer4, bn1") == ("layer4", "bn1")
    norms = choose_frozen(backbone, "norms")
    assert len(norms) == 20 and {"bn1", "layer4.1.bn2", "layer2.0.downsample.1"} <= set(norms)
    assert choose_frozen(backbone, "1,norms") == ("conv1", *norms)
    assert choose_frozen(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4)), "norms") == ("1",)
    with pytest.raises(UsageError, match="no normalisation layers"):
        choose_frozen(nn.Linear(3, 4), "norms")
    with pytest.raises(UsageError, match="Did you mean norms"):
        choose_frozen(backbone, "norm")
    with pytest.raises(UsageError, match="has 5 stages") as caught:
        choose_frozen(backbone, "6")
    assert "1: conv1, bn1; 2: layer1" in caught.value.hint
    with pytest.raises(UsageError, match=r"no part 'layer5'. Did you mean layer"):
        choose_frozen(backbone, "layer5")
    for wrong in ("0", "layer1,,bn1"):
        with pytest.raises(UsageError, match="freeze="):
            choose_frozen(backbone, wrong)


def test_what_is_frozen_moves_neither_weights_nor_statistics():
    network = ComFace(small(), 5, 4, frozen=("0", "1"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.eval().train()
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learnt, 0.1)
    output = network(torch.rand(8, 3, 8, 8) * 5, torch.zeros(4, dtype=torch.int64))
    (output.changes.square().sum() + output.projections[:, 0].sum()).backward()
    optimizer.step()
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in moved if name.startswith(("backbone.0.", "backbone.1."))}
    assert {"backbone.3.weight", "heads.weight", "norm.running_mean"} <= moved
    # Were batch norm in train mode, the same images would give other features.
    assert not network.backbone[1].training and network.backbone[3].training


def test_weights_are_pulled_to_the_start_as_a_float64_loop_says():
    network = small().double()
    network[0].requires_grad_(False)
    start = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    pull = WeightPull(network, 0.3)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    network[3].bias.grad = torch.ones(5, dtype=torch.float64)
    value = pull.add_gradient()
    expected = 0.0
    for name, parameter in network.named_parameters():
        if name == "0.weight":  # frozen
            assert parameter.grad is None
            continue
        for place, now in np.ndenumerate(parameter.detach().numpy()):
            away = now - start[name][place]
            expected += 0.3 / 2 * away**2
            own = 1.0 if name == "3.bias" else 0.0
            assert float(parameter.grad[place]) == pytest.approx(own + 0.3 * away, rel=1e-12)
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_gradients_of_both_pulls_are_those_of_differences():
    backbone = small().double().eval()
    images, step = torch.rand(6, 3, 8, 8, dtype=torch.float64), 1e-6
    features = FeaturePull(backbone, 1.7)
    weights = WeightPull(backbone, 0.9)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    aim = features._start(images)

    def value():
        made = backbone(images).detach().numpy()
        loss = 1.7 * np.mean((made - aim.numpy()) ** 2)
        pairs = zip(backbone.parameters(), weights._start, strict=True)
        return loss + 0.9 / 2 * sum(float((p.detach() - s).square().sum()) for p, s in pairs)

    made = backbone(images)
    parts = zip(images.split(2), made.split(2), strict=True)
    shares = [features.compare(part, feature, 6) for part, feature in parts]
    assert sum(float(share) for share, _ in shares) + float(weights.add_gradient()) == pytest.approx(value())
    made.backward(torch.cat([gradient for _, gradient in shares]))
    parameter = backbone[3].bias
    for place in ((0,), (4,)):
        with torch.no_grad():
            parameter[place] += step
            more = value()
            parameter[place] -= 2 * step
            less = value()
            parameter[place] += step
        assert float(parameter.grad[place]) == pytest.approx((more - less) / (2 * step), rel=1e-5)


def test_the_starts_features_are_those_of_eval_mode_and_never_learn():
    backbone = small().train()
    pull = FeaturePull(backbone, 1.0)
    images = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        backbone[3].weight += 1
    first = pull.compare(images, torch.zeros(4, 5), 4)[0]
    pull.compare(images + 3, torch.zeros(4, 5), 4)
    assert torch.equal(first, pull.compare(images, torch.zeros(4, 5), 4)[0])
    aim = small().eval()(images).detach()
    assert float(first) == pytest.approx(float(aim.square().mean()), rel=1e-5)
