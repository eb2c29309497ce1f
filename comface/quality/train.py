"""Train the recogniser on a corpus: which identity is this, whatever its attribute does?"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from comface_bench.comface.quality.network import IdentityNetwork, make_network
from comface_bench.core.card import IMAGENET
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
    corpus: Corpus, training: Training, progress: Callable[[int, int], None] | None = None
) -> tuple[IdentityNetwork, float]:
    """Train on a corpus's identities.

    The last image of every second record is held out.

    Returns:
        The network in eval mode, and the share of held-out images whose identity it names.

    Raises:
        UsageError: The corpus has fewer than two identities.
        UnitError: The loss isn't finite.
    """
    names, labels = np.unique(corpus.identities, return_inverse=True)
    if len(names) < 2:
        raise UsageError("quality needs a corpus of two identities or more")
    network = make_network(len(names), training.seed).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=training.rate)
    warm = max(1, training.steps // 10)

    def factor(step: int) -> float:
        after = (step - warm) / max(1, training.steps - warm)
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * after))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    random = np.random.default_rng([training.seed, 0x5E4F])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        for step in range(training.steps):
            chosen = _draw(labels, training.batch, random)
            places = [int(random.integers(_images(corpus, int(number)))) for number in chosen]
            images = load_images(corpus, list(zip(chosen.tolist(), places, strict=True)), training.size)
            flipped = torch.from_numpy(random.random(len(images)) < 0.5)[:, None, None, None]
            images = torch.where(flipped, images.flip(3), images)
            loss = torch.nn.functional.cross_entropy(network(images), torch.from_numpy(labels[chosen]))
            if not math.isfinite(loss.item()):
                raise UnitError(f"the recogniser's loss isn't finite at step {step}", "Lower --rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if progress:
                progress(step + 1, training.steps)
    return network.eval(), _accuracy(network, corpus, labels, training.size)


def load_images(corpus: Corpus, places: list[tuple[int, int]], size: int) -> Tensor:
    """Return images by (record, place), normalised, shape (N, 3, size, size)."""
    images = np.stack([corpus.image(int(number), int(index)) for number, index in places])
    pixels = torch.from_numpy(images).float() / 255
    if pixels.shape[-1] != size:
        pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    return (pixels - mean) / std


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
    for start in range(0, len(held), 100):
        numbers = list(held[start : start + 100])
        last = corpus.description.plan.alphas - 1
        images = load_images(corpus, [(number, last) for number in numbers], size)
        right += int((network(images).argmax(dim=1) == torch.from_numpy(labels[numbers])).sum())
    return right / len(held)
