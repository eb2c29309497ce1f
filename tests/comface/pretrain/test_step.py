"""The gradient of a whole batch, however it is divided: against autograd over everything at once."""

from __future__ import annotations

import copy
import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from comface_bench.comface.model import ComFace
from comface_bench.comface.pretrain.distributed import ProcessGroup, join_processes, leave_processes
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.comface.pretrain.step import (
    accumulate_gradients,
    change_loss,
    contrastive_loss,
    split_chunks,
)
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


def make(heads=("a", "b"), batch_norm=False):
    torch.manual_seed(0)
    network = ComFace(Smooth(), WIDTH, 4, heads).double()
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
    return {name: p.grad.clone() for name, p in network.named_parameters()}


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


def found(network, settings, chunk=0, ranks=None):
    ranks = ranks or ProcessGroup()
    images, own, identities, changes = draw()
    first, second = images.chunk(2)
    mine = slice(ranks.rank * PAIRS // ranks.size, (ranks.rank + 1) * PAIRS // ranks.size)
    images = torch.cat([first[mine], second[mine]])
    parts = split_chunks(images, own[mine], chunk)
    return accumulate_gradients(network, parts, identities, changes, settings, ranks, CPU)


def close(one, other, limit=1e-9):
    assert one.keys() == other.keys()
    for name in one:
        scale = other[name].abs().max().clamp_min(1e-3)
        assert (one[name] - other[name]).abs().max() <= limit * scale, name


@pytest.mark.parametrize("chunk", [0, 1, 3, 4])
@pytest.mark.parametrize(("inter", "intra"), [(0.7, 1.3), (1.0, 0.0), (0.0, 1.0)])
def test_parts_give_the_gradient_of_the_whole(chunk, inter, intra):
    settings = dataclasses.replace(SETTINGS, inter_weight=inter, intra_weight=intra)
    network = make()
    reference = expected(copy.deepcopy(network), settings)
    found(network, settings, chunk)
    close(gradients(network), reference)


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


CASES = [
    {"batch_norm": batch_norm, "chunk": chunk, "inter": inter, "intra": intra}
    for batch_norm in (False, True)
    for chunk in (0, 2)
    for inter, intra in ((0.7, 1.3), (1.0, 0.0), (0.0, 1.0))
]


def work(folder):
    """What each of two processes does, started by `test_two_processes_give_the_gradient_of_one`."""
    torch.set_num_threads(1)
    ranks = join_processes("cpu")
    for number, case in enumerate(CASES):
        network = make(batch_norm=case["batch_norm"])
        settings = dataclasses.replace(SETTINGS, inter_weight=case["inter"], intra_weight=case["intra"])
        wrapped = nn.parallel.DistributedDataParallel(network)
        found(wrapped, settings, case["chunk"], ranks)
        torch.save(gradients(network), folder / f"{number}-{ranks.rank}.pt")
    leave_processes()


def test_two_processes_give_the_gradient_of_one(tmp_path, two_processes):
    two_processes([__file__, str(tmp_path)])
    for number, case in enumerate(CASES):
        network = make(batch_norm=case["batch_norm"])
        settings = dataclasses.replace(SETTINGS, inter_weight=case["inter"], intra_weight=case["intra"])
        # Batch norm sees parts of as many pairs in both, four each if the processes don't divide theirs.
        found(network, settings, case["chunk"] or PAIRS // 2)
        for rank in range(2):
            close(torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True), gradients(network))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
