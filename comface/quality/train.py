"""Train the recogniser on a corpus: which identity is this, whatever its attribute does?"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from comface_bench.comface.quality.images import ahead, load_images
from comface_bench.comface.quality.network import IdentityNetwork, make_network
from comface_bench.core.errors import UnitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus


@dataclasses.dataclass(frozen=True)
class Training:
    """How the recogniser is trained; all of it is ours, since the supplement takes a published one.

    Attributes:
        steps: Number of steps.
        batch: Images in a step, each of another identity while there are as many.
        size: Height and width of the images in pixels.
        rate: Largest learning rate; it rises for a tenth of the steps and then falls to 0 as a cosine.
        seed: Seed of weights, batches and dropout.
    """

    steps: int = 600
    batch: int = 64
    size: int = 64
    rate: float = 1e-3
    seed: int = 0


def train_recogniser(
    corpus: Corpus,
    training: Training,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[IdentityNetwork, float]:
    """Train on a corpus's identities.

    The last image of every second record is held out.

    Args:
        corpus: Opened for reading.
        training: How.
        progress: Called with (steps done, steps in all).
        device: Where.

    Returns:
        The network in eval mode, on its device, and the share of held-out images whose identity it names.

    Raises:
        UsageError: The corpus has fewer than two identities.
        UnitError: The loss isn't finite.
    """
    names, labels = np.unique(corpus.identities, return_inverse=True)
    if len(names) < 2:
        raise UsageError("quality needs a corpus of two identities or more")
    network = make_network(len(names), training.seed).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=training.rate)
    warm = max(1, training.steps // 10)

    def factor(step: int) -> float:
        after = (step - warm) / max(1, training.steps - warm)
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * after))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    random = np.random.default_rng([training.seed, 0x5E4F])
    batches = (_batch(corpus, labels, training.batch, random) for _ in range(training.steps))

    def read(batch: _Batch) -> tuple[_Batch, Tensor]:
        places = list(zip(batch.records.tolist(), batch.places, strict=True))
        images = load_images(corpus, places, training.size)
        flipped = torch.from_numpy(batch.flipped)[:, None, None, None]
        return batch, torch.where(flipped, images.flip(3), images)

    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if network.classes.is_cuda else []):
        torch.manual_seed(training.seed)
        for step, (batch, images) in enumerate(ahead(read, batches)):
            target = torch.from_numpy(labels[batch.records]).to(device)
            loss = torch.nn.functional.cross_entropy(network(images.to(device)), target)
            if not math.isfinite(loss.item()):
                raise UnitError(f"the recogniser's loss isn't finite at step {step}", "Lower --rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if progress:
                progress(step + 1, training.steps)
    return network.eval(), _accuracy(network, corpus, labels, training.size)


class _Batch(NamedTuple):
    records: NDArray[np.intp]
    places: list[int]
    flipped: NDArray[np.bool_]


def _batch(corpus: Corpus, labels: NDArray[np.intp], size: int, random: np.random.Generator) -> _Batch:
    chosen = _draw(labels, size, random)
    places = [int(random.integers(_images(corpus, int(number)))) for number in chosen]
    return _Batch(chosen, places, random.random(len(chosen)) < 0.5)


def _draw(labels: NDArray[np.intp], batch: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Draw records, of different identities as long as there are."""
    order = random.permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    return order[np.sort(first)[:batch]]


def _images(corpus: Corpus, number: int) -> int:
    """Return how many of a record's images are trained on."""
    return corpus.description.plan.alphas - (1 if number % 2 == 0 else 0)


@torch.no_grad()
def _accuracy(network: IdentityNetwork, corpus: Corpus, labels: NDArray[np.intp], size: int) -> float:
    held = range(0, min(len(corpus), 2000), 2)
    right = 0
    last = corpus.description.plan.alphas - 1
    parts = [held[start : start + 100] for start in range(0, len(held), 100)]
    read = ahead(lambda part: load_images(corpus, [(number, last) for number in part], size), parts)
    for part, images in zip(parts, read, strict=True):
        named = network(images.to(network.classes.device)).argmax(dim=1).cpu()
        right += int((named == torch.from_numpy(labels[list(part)])).sum())
    return right / len(held)
