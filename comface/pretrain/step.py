"""The two losses, and their gradient over a whole batch, however the batch is divided.

The contrast compares every image with all others of the batch, so gradients of chunks don't add up to the
batch's. Gradients with respect to the network's outputs do: a first pass without gradients computes the
outputs of all chunks, the losses and their gradients are taken over all outputs of all processes, and a
second pass propagates each chunk's share back to the parameters (Gao et al., "Scaling deep contrastive
learning batch size under memory limited setup", 2021). One chunk in one process needs a single pass.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from comface_bench.engine.checkpoint import seeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comface_bench.comface.model import PairOutput
    from comface_bench.comface.pretrain.distributed import ProcessGroup
    from comface_bench.comface.pretrain.retention import FeaturePull
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.engine.precision import Machine


def contrastive_loss(projections: Tensor, identities: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent over identities (inter-personal learning).

    The two images of a pair attract each other and repel all images of other people. Further images of the
    same person are left out: they are neither positives nor negatives of the pair.

    Args:
        projections: Of unit length, float32 or wider, (2N, P): the N first images, then the N second ones.
        identities: Of the N pairs, int64 (N,).
        temperature: Of the softmax, above 0.

    Returns:
        The mean over all 2N images, a scalar.
    """
    count = len(identities)
    similar = projections @ projections.T / temperature
    people = identities.repeat(2)
    same = people[:, None] == people[None, :]
    rows = torch.arange(2 * count, device=projections.device)
    partner = (rows + count) % (2 * count)
    positive = similar[rows, partner]
    others = similar.masked_fill(same, float("-inf"))
    # The partner, which `same` has taken out with the rest, is put back beside the strangers.
    logits = torch.cat([positive[:, None], others], dim=1)
    return (logits.logsumexp(dim=1) - positive).mean()


def change_loss(predicted: Tensor, change: Tensor, scale: float) -> Tensor:
    """Return L1 between predicted and true change of α over its scale (intra-personal learning).

    Args:
        predicted: Change over `scale`, as the heads give it, float32 or wider, (N,) or (N, heads).
        change: α_y − α_x, (N,).
        scale: Change of α that a prediction of 1 stands for, above 0.

    Returns:
        The mean, a scalar.
    """
    target = (change / scale).to(predicted.dtype)
    if predicted.ndim == 2:
        target = target[:, None]
    return (predicted - target).abs().mean()


class Chunk(NamedTuple):
    """Pairs that pass the network at once.

    Attributes:
        images: Normalised, (2n, 3, H, W): first images, then second ones.
        own: Index of each pair's attribute, int64 (n,).
    """

    images: Tensor
    own: Tensor


class StepLosses(NamedTuple):
    """Losses of a step, over all processes; scalars without a gradient.

    Attributes:
        inter, intra: The two losses, not weighted; `inter` is None where its weight is 0.
        spread: See `PairOutput`; mean of all processes' first chunks.
        distill: Of the start's features, weighted; None where they aren't distilled.
    """

    inter: Tensor | None
    intra: Tensor
    spread: Tensor
    distill: Tensor | None = None


def accumulate_gradients(
    network: nn.Module,
    chunks: list[Chunk],
    identities: Tensor,
    changes: Tensor,
    settings: Settings,
    processes: ProcessGroup,
    machine: Machine,
    pull: FeaturePull | None = None,
    seed: int = 0,
) -> StepLosses:
    """Add the gradient of the whole batch's loss to the parameters' gradients.

    Where `settings.inter_weight` is 0, identities aren't contrasted at all.

    Args:
        network: `ComFace`, wrapped for several processes if there are.
        chunks: This process's pairs.
        identities: Of all processes' pairs, first process to last, int64 (N,).
        changes: Likewise, α_y − α_x, (N,).
        settings: Weights, temperature and scale of the losses.
        processes: Of the training; each has as many pairs.
        machine: Precision of the backbone.
        pull: Towards the features of the start, if they are distilled.
        seed: Of what this process drops in the step, in both passes alike.
    """
    single, contrast = len(chunks) == 1, settings.inter_weight > 0
    outputs: list[PairOutput] = []
    with contextlib.nullcontext() if single else _without_gradient(network):
        for number, chunk in enumerate(chunks):
            with machine.autocast(), seeded(seed + number, machine.device):
                outputs.append(network(*chunk))
    predicted = processes.gather(torch.cat([one.changes.detach() for one in outputs])).requires_grad_()
    intra = change_loss(predicted, changes, settings.change_scale)
    wanted, inter, leaves = settings.intra_weight * intra, None, [predicted]
    if contrast:
        # First and second images of all chunks, then of all processes, in the order of the pairs.
        halves = join_projections(outputs).detach().chunk(2)
        leaves += [processes.gather(half.contiguous()).requires_grad_() for half in halves]
        inter = contrastive_loss(torch.cat(leaves[1:]), identities, settings.temperature)
        wanted = settings.inter_weight * inter + wanted
    found = torch.autograd.grad(wanted, leaves, allow_unused=True, materialize_grads=True)
    # Wrapped networks average gradients over processes; those of one loss are added up.
    shares = [processes.share(gradient) * processes.size for gradient in found]
    sizes = [len(chunk.own) for chunk in chunks]
    divided = zip(*(torch.split(share, sizes) for share in shares), strict=True)
    apart = torch.zeros((), device=predicted.device)
    for number, (chunk, (change, *both)) in enumerate(zip(chunks, divided, strict=True)):
        last = number == len(chunks) - 1
        sync = contextlib.nullcontext() if last else _without_gradient_sync(network)
        with sync:
            if single:
                output = outputs[0]
            else:
                with machine.autocast(), seeded(seed + number, machine.device):
                    output = network(*chunk)
            ends, gradients = [output.changes], [change]
            if contrast:
                ends.append(output.projections)
                gradients.append(torch.cat(both))
            if pull is not None:
                with machine.autocast():
                    share, gradient = pull.compare(chunk.images, output.features, 2 * len(changes))
                apart = apart + share
                if output.features.requires_grad:  # Not if all of the backbone is frozen.
                    ends.append(output.features)
                    gradients.append(gradient * processes.size)
            torch.autograd.backward(ends, gradients)
    return StepLosses(
        None if inter is None else inter.detach(),
        intra.detach(),
        processes.mean(outputs[0].spread),
        None if pull is None else processes.mean(apart) * processes.size,
    )


def split_chunks(images: Tensor, own: Tensor, chunk_size: int) -> list[Chunk]:
    """Divide a process's images, first ones before second ones, into chunks of pairs; 0 for one chunk."""
    if not chunk_size or chunk_size >= len(own):
        return [Chunk(images, own)]
    first, second = images.chunk(2)
    parts = zip(*(torch.split(values, chunk_size) for values in (first, second, own)), strict=True)
    return [Chunk(torch.cat([one, two]), which) for one, two, which in parts]


def join_projections(outputs: list[PairOutput]) -> Tensor:
    """Return all chunks' projections, first images before second ones, (2N, P)."""
    halves = [one.projections.chunk(2) for one in outputs]
    return torch.cat([half[0] for half in halves] + [half[1] for half in halves])


@contextlib.contextmanager
def _without_gradient(network: nn.Module) -> Iterator[None]:
    """Switch gradients and updates of batch norm's running statistics off."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        with torch.no_grad():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _without_gradient_sync(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    if isinstance(network, nn.parallel.DistributedDataParallel):
        held: contextlib.AbstractContextManager[None] = network.no_sync()
        return held
    return contextlib.nullcontext()
