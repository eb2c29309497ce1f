"""The losses against float64 loops; the gradient of a whole batch, however divided, against autograd."""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from comface_bench.comface.model import ComFace
from comface_bench.comface.pretrain import step
from comface_bench.comface.pretrain.distributed import ProcessGroup, join_processes, leave_processes
from comface_bench.comface.pretrain.retention import FeaturePull
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.comface.pretrain.step import (
    accumulate_gradients,
    change_loss,
    contrastive_loss,
    split_chunks,
)
from comface_bench.engine.checkpoint import seeded
from comface_bench.engine.precision import Machine

PAIRS, WIDTH = 8, 6
CPU = Machine(torch.device("cpu"), "float32")
SETTINGS = Settings(temperature=0.3, inter_weight=0.7, intra_weight=1.3)


class Smooth(nn.Module):
    """A backbone without batch norm, so that its parts don't depend on each other."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, WIDTH, 3)

    def forward(self, images):
        return torch.tanh(self.layer(images)).mean(dim=(2, 3))


class Dropping(Smooth):
    """The same with dropout, which some of the networks have that a training starts from."""

    def forward(self, images):
        return nn.functional.dropout(super().forward(images), 0.4, self.training)


def make(heads=("a", "b"), batch_norm=False, contrast=True, backbone=Smooth):
    torch.manual_seed(0)
    network = ComFace(backbone(), WIDTH, 4, heads, contrast).double()
    if not batch_norm:
        network.norm = nn.Identity()
        network.projector[1] = nn.Identity()
    return network.train()


def draw():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2 * PAIRS, 3, 8, 8, generator=generator, dtype=torch.float64)
    own = torch.arange(PAIRS) % 2
    # Pairs of one person, within a part and across parts, are masked.
    identities = torch.tensor([0, 1, 2, 0, 3, 4, 1, 1])
    changes = torch.linspace(-8, 9, PAIRS, dtype=torch.float64)
    return images, own, identities, changes


def gradients(network):
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }


def expected(network, settings):
    """Both losses over the whole batch, by autograd alone."""
    images, own, identities, changes = draw()
    features = network.backbone(images)
    projections = nn.functional.normalize(network.projector(network.norm(features)), dim=1)
    normed = network.norm(features)
    difference = network.heads(normed[PAIRS:] - normed[:PAIRS])
    answers = torch.stack([difference[:, 0], difference[torch.arange(PAIRS), 1 + own]], dim=1)
    loss = settings.inter_weight * contrastive_loss(projections, identities, settings.temperature)
    loss = loss + settings.intra_weight * change_loss(answers, changes, settings.change_scale)
    loss.backward()
    return gradients(network)


def found(network, settings, chunk=0, ranks=None, pull=None):
    ranks = ranks or ProcessGroup()
    images, own, identities, changes = draw()
    first, second = images.chunk(2)
    mine = slice(ranks.rank * PAIRS // ranks.size, (ranks.rank + 1) * PAIRS // ranks.size)
    images = torch.cat([first[mine], second[mine]])
    parts = split_chunks(images, own[mine], chunk)
    return accumulate_gradients(network, parts, identities, changes, settings, ranks, CPU, pull)


def close(one, other, limit=1e-9):
    assert one.keys() == other.keys()
    for name in one:
        scale = other[name].abs().max().clamp_min(1e-3)
        assert (one[name] - other[name]).abs().max() <= limit * scale, name


@pytest.mark.parametrize("chunk", [0, 1, 3, 4])
@pytest.mark.parametrize(("inter", "intra"), [(0.7, 1.3), (1.0, 0.0), (0.0, 1.0)])
def test_parts_give_the_gradient_of_the_whole(chunk, inter, intra):
    settings = dataclasses.replace(SETTINGS, inter_weight=inter, intra_weight=intra)
    network = make(contrast=inter > 0)
    reference = expected(make(), settings)
    losses = found(network, settings, chunk)
    assert (losses.inter is None) == (inter == 0)
    close(gradients(network), reference)


@pytest.mark.parametrize("chunk", [0, 3])
def test_what_is_dropped_is_dropped_in_both_passes(chunk):
    """Against autograd over the same masks at once."""
    network, reference = make(backbone=Dropping), make(backbone=Dropping)
    found(network, SETTINGS, chunk)
    images, own, identities, changes = draw()
    outputs = []
    for number, part in enumerate(split_chunks(images, own, chunk)):
        with seeded(number, CPU.device):
            outputs.append(reference(*part))
    inter = contrastive_loss(step.join_projections(outputs), identities, SETTINGS.temperature)
    answers = torch.cat([output.changes for output in outputs])
    intra = change_loss(answers, changes, SETTINGS.change_scale)
    (SETTINGS.inter_weight * inter + SETTINGS.intra_weight * intra).backward()
    close(gradients(network), gradients(reference))


@pytest.mark.parametrize("chunk", [0, 3])
def test_distilled_features_add_their_gradient(chunk):
    """Against autograd over everything at once: both losses, and w · mean (f − f₀)²."""
    settings = dataclasses.replace(SETTINGS, distill=2.5)
    network = make()
    start = Smooth().double()
    images = draw()[0]
    reference = make()
    with torch.no_grad():
        aim = start(images)
    (2.5 * (reference.backbone(images) - aim).square().mean()).backward()
    value = 2.5 * float((reference.backbone(images) - aim).square().mean())
    wanted = expected(reference, settings)  # adds the losses' gradients
    losses = found(network, settings, chunk, pull=FeaturePull(start, 2.5))
    assert float(losses.distill) == pytest.approx(value, rel=1e-12)
    close(gradients(network), wanted)
    plain = make()
    found(plain, settings, chunk)
    assert (gradients(plain)["backbone.layer.weight"] - wanted["backbone.layer.weight"]).abs().max() > 1e-4


def test_a_contrast_of_weight_0_costs_nothing(monkeypatch):
    """The projector never runs, in training and where chunks are looked ahead at."""
    network = make(contrast=False)
    network.projector[0].register_forward_hook(lambda *_: pytest.fail("the projector ran"))
    monkeypatch.setattr(step, "contrastive_loss", lambda *_: pytest.fail("identities were contrasted"))
    for chunk in (0, 3):
        found(network, dataclasses.replace(SETTINGS, inter_weight=0.0), chunk)


def test_masking_matters_to_the_gradient():
    network = make()
    other = copy.deepcopy(network)
    found(network, SETTINGS)
    images, own, _, changes = draw()
    accumulate_gradients(
        other, split_chunks(images, own, 0), torch.arange(PAIRS), changes, SETTINGS, ProcessGroup(), CPU
    )
    weight = "backbone.layer.weight"
    assert (gradients(network)[weight] - gradients(other)[weight]).abs().max() > 1e-4


def test_looking_ahead_leaves_batch_norm_as_one_pass_does():
    network = make(batch_norm=True).float()
    other = copy.deepcopy(network)
    images, own, identities, changes = draw()
    parts = split_chunks(images.float(), own, 4)
    accumulate_gradients(network, parts, identities, changes, SETTINGS, ProcessGroup(), CPU)
    with torch.no_grad():
        for part in parts:
            other(*part)
    assert torch.equal(network.norm.running_mean, other.norm.running_mean)
    assert torch.equal(network.norm.running_var, other.norm.running_var)
    assert network.norm.momentum == 0.1


def contrast_loop(projections, identities, temperature):
    """NT-Xent, image by image: the partner against everybody of another identity."""
    z, count = projections.astype(np.float64), len(identities)
    people, total = [*identities, *identities], 0.0
    for i in range(2 * count):
        partner = i + count if i < count else i - count
        attracted = math.exp(z[i] @ z[partner] / temperature)
        repelled = sum(
            math.exp(z[i] @ z[j] / temperature) for j in range(2 * count) if people[j] != people[i]
        )
        total -= math.log(attracted / (attracted + repelled))
    return total / (2 * count)


def unit(random, count, width):
    values = random.normal(size=(2 * count, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@given(
    identities=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    temperature=st.floats(0.05, 2.0),
    seed=st.integers(0, 999),
)
def test_contrast_is_that_of_a_loop(identities, temperature, seed):
    projections = unit(np.random.default_rng(seed), len(identities), 5)
    found = contrastive_loss(torch.from_numpy(projections), torch.tensor(identities), temperature)
    assert float(found) == pytest.approx(
        contrast_loop(projections, identities, temperature), rel=1e-9, abs=1e-12
    )


def test_gradient_of_contrast_is_that_of_differences():
    random, identities = np.random.default_rng(1), torch.tensor([0, 1, 0, 2])
    leaf = torch.from_numpy(unit(random, 4, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: contrastive_loss(z, identities, 0.2), (leaf,))


def test_images_of_the_same_person_are_neither_partner_nor_stranger():
    z = torch.from_numpy(unit(np.random.default_rng(2), 3, 4))
    moved = z.clone()
    moved[1] = torch.nn.functional.normalize(torch.ones(4, dtype=torch.float64), dim=0)
    one_person = torch.tensor([7, 7, 7])
    assert float(contrastive_loss(z, one_person, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert float(contrastive_loss(moved, one_person, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert float(contrastive_loss(z, torch.tensor([0, 1, 2]), 0.1)) > 0.01


def test_telling_people_apart_lowers_the_contrast():
    apart = torch.eye(4).repeat(2, 1)
    alike = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    people = torch.arange(4)
    assert float(contrastive_loss(apart, people, 0.1)) < 0.01
    assert float(contrastive_loss(alike, people, 0.1)) == pytest.approx(math.log(7), rel=1e-5)  # 1 of 1 + 6


@pytest.mark.parametrize("heads", [1, 2])
def test_measure_is_mean_absolute_error_over_the_scale(heads):
    random = np.random.default_rng(3)
    predicted, change = random.normal(size=(6, heads)), random.uniform(-10, 10, 6)
    expected = np.mean([abs(p - c / 5) for row, c in zip(predicted, change, strict=True) for p in row])
    found = change_loss(torch.from_numpy(predicted), torch.from_numpy(change), 5.0)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    if heads == 1:
        assert float(change_loss(torch.from_numpy(predicted[:, 0]), torch.from_numpy(change), 5.0)) == float(
            found
        )


CASES = [
    {"batch_norm": batch_norm, "chunk": chunk, "inter": inter, "intra": intra, "distill": 2.5 * (chunk > 0)}
    for batch_norm in (False, True)
    for chunk in (0, 2)
    for inter, intra in ((0.7, 1.3), (1.0, 0.0), (0.0, 1.0))
]


def start_pull(case):
    torch.manual_seed(7)
    return FeaturePull(Smooth().double(), case["distill"]) if case["distill"] else None


def work(folder):
    """The work of each of two processes, started by `test_two_processes_give_the_gradient_of_one`."""
    torch.set_num_threads(1)
    ranks = join_processes("cpu")
    for number, case in enumerate(CASES):
        network = make(batch_norm=case["batch_norm"], contrast=case["inter"] > 0)
        settings = dataclasses.replace(SETTINGS, inter_weight=case["inter"], intra_weight=case["intra"])
        wrapped = nn.parallel.DistributedDataParallel(network)
        found(wrapped, settings, case["chunk"], ranks, start_pull(case))
        torch.save(gradients(network), folder / f"{number}-{ranks.rank}.pt")
    leave_processes()


def test_two_processes_give_the_gradient_of_one(tmp_path, two_processes):
    two_processes([__file__, str(tmp_path)])
    for number, case in enumerate(CASES):
        network = make(batch_norm=case["batch_norm"], contrast=case["inter"] > 0)
        settings = dataclasses.replace(SETTINGS, inter_weight=case["inter"], intra_weight=case["intra"])
        # Batch norm sees parts of as many pairs in both, four each if the processes don't divide theirs.
        found(network, settings, case["chunk"] or PAIRS // 2, pull=start_pull(case))
        for rank in range(2):
            close(torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True), gradients(network))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
