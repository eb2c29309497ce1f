"""One step: the gradient of both losses over a whole batch, however it is divided.

The contrast compares every image with all others of the batch, so gradients of parts don't add up to the
batch's. What does add up is the way from what the network says of each part to the parameters. So all
parts speak first, the losses and their gradients are taken over what all of them said, in every process,
and each part then carries its share of them back (Gao et al., "Scaling deep contrastive learning batch size
under memory limited setup", 2021). One part in one process needs a single pass.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from comface_bench.comface.pretrain.losses import contrast, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comface_bench.comface.model import Compared
    from comface_bench.comface.pretrain.ranks import Ranks
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.engine.precision import Machine


class Part(NamedTuple):
    """Pairs that pass the network at once.

    Attributes:
        images: Normalised, (2n, 3, H, W): first images, then second ones.
        own: Place of each pair's attribute, int64 (n,).
    """

    images: Tensor
    own: Tensor


class Losses(NamedTuple):
    """Of a step, over all processes; scalars without a gradient.

    Attributes:
        inter, intra: The two losses, not weighted.
        spread: See `Compared`; mean of all processes' first parts.
    """

    inter: Tensor
    intra: Tensor
    spread: Tensor


def accumulate(
    network: nn.Module,
    parts: list[Part],
    identities: Tensor,
    changes: Tensor,
    settings: Settings,
    ranks: Ranks,
    machine: Machine,
) -> Losses:
    """Add the gradient of the whole batch's loss to the parameters' gradients.

    Args:
        network: `ComFace`, wrapped for several processes if there are.
        parts: This process's pairs, in parts.
        identities: Of all processes' pairs, first process to last, int64 (N,).
        changes: Likewise, α_y − α_x, (N,).
        settings: Weights, temperature and scale of the losses.
        ranks: The processes; each has as many pairs.
        machine: Precision of the backbone.
    """
    single = len(parts) == 1
    said: list[Compared] = []
    with contextlib.nullcontext() if single else _looking_ahead(network):
        for part in parts:
            with machine.autocast():
                said.append(network(*part))
    # Firsts and seconds of all parts, then of all processes, in the order of the pairs.
    first, second = (ranks.gather(half.contiguous()) for half in join_parts(said).detach().chunk(2))
    predicted = ranks.gather(torch.cat([one.changes.detach() for one in said]))
    for leaf in (first, second, predicted):
        leaf.requires_grad_()
    inter = contrast(torch.cat([first, second]), identities, settings.temperature)
    intra = measure(predicted, changes, settings.change_scale)
    wanted = settings.inter_weight * inter + settings.intra_weight * intra
    found = torch.autograd.grad(wanted, (first, second, predicted), allow_unused=True, materialize_grads=True)
    # Wrapped networks average gradients over processes; those of one loss are added up.
    shares = [ranks.share(gradient) * ranks.size for gradient in found]
    sizes = [len(part.own) for part in parts]
    divided = zip(*(torch.split(share, sizes) for share in shares), strict=True)
    for number, (part, (one, two, change)) in enumerate(zip(parts, divided, strict=True)):
        last = number == len(parts) - 1
        hold = contextlib.nullcontext() if last else _without_exchange(network)
        with hold:
            if single:
                answer = said[0]
            else:
                with machine.autocast():
                    answer = network(*part)
            torch.autograd.backward([answer.projections, answer.changes], [torch.cat([one, two]), change])
    return Losses(inter.detach(), intra.detach(), ranks.mean(said[0].spread))


def divide_images(images: Tensor, own: Tensor, chunk_size: int) -> list[Part]:
    """Divide a process's images, first ones before second ones, into parts of so many pairs; 0 for one."""
    if not chunk_size or chunk_size >= len(own):
        return [Part(images, own)]
    first, second = images.chunk(2)
    parts = zip(*(torch.split(values, chunk_size) for values in (first, second, own)), strict=True)
    return [Part(torch.cat([one, two]), which) for one, two, which in parts]


def join_parts(said: list[Compared]) -> Tensor:
    """Return all parts' projections, first images before second ones, (2N, P)."""
    halves = [one.projections.chunk(2) for one in said]
    return torch.cat([half[0] for half in halves] + [half[1] for half in halves])


@contextlib.contextmanager
def _looking_ahead(network: nn.Module) -> Iterator[None]:
    """Pass the network without a gradient and without a trace in batch norm's averages."""
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


def _without_exchange(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    if isinstance(network, nn.parallel.DistributedDataParallel):
        held: contextlib.AbstractContextManager[None] = network.no_sync()
        return held
    return contextlib.nullcontext()
