"""A face recogniser with dropout before its last layer, trained on a corpus's own identities.

SER-FIQ's published network is bound to an abandoned framework; identities of synthetic faces are known, so
a network of the same form (dropout, then one fully connected layer) can be trained on them.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from comface_bench.core.card import IMAGENET
from comface_bench.core.errors import UnitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

EMBEDDING = 128
DROPOUT = 0.5
_SCALE = 16.0  # of cosines before the softmax
_THREADS = 2
_MOST_HELD_OUT = 2000


@dataclasses.dataclass(frozen=True)
class RecogniserTraining:
    """Hyper-parameters of the recogniser; all of them are ours, since the supplement takes a published one.

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


class IdentityNetwork(nn.Module):
    """Backbone, dropout, embedding; a classifier over identities while it is trained.

    Args:
        backbone: From normalised images (N, 3, H, W) to features (N, D).
        feature_dim: D.
        identities: Number of identities to train on.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, identities: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.drop = nn.Dropout(DROPOUT)
        self.embed = nn.Linear(feature_dim, EMBEDDING)
        self.classes = nn.Parameter(torch.randn(identities, EMBEDDING))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, identities) of normalised images (N, 3, H, W)."""
        embedded = nn.functional.normalize(self.embed(self.drop(self.backbone(images))).float(), dim=1)
        logits: Tensor = _SCALE * embedded @ nn.functional.normalize(self.classes, dim=1).T
        return logits

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the input of dropout, (N, D), of normalised images; the network is in eval mode."""
        found: Tensor = self.backbone(images.to(self.classes.device)).float()
        return found

    @torch.no_grad()
    def repeat(self, features: Tensor, passes: int, random: torch.Generator) -> Tensor:
        """Return `passes` embeddings under dropout of each image's features, shape (passes, N, E).

        The backbone needn't run again: dropout comes after it.

        Args:
            features: As `features` returns them.
            passes: Number of stochastic passes.
            random: Source of the dropout, of the CPU, so that a GPU drops the same.
        """
        kept = torch.rand((passes, *features.shape), generator=random) >= DROPOUT
        embedded: Tensor = self.embed(features * kept.to(features.device) / (1 - DROPOUT))
        return embedded


def build_network(identities: int, seed: int) -> IdentityNetwork:
    """Return an untrained network on ResNet-18, its weights drawn from the seed."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = torchvision.models.resnet18()
        backbone.fc = nn.Identity()
        return IdentityNetwork(backbone, 512, identities)


def train_recogniser(
    corpus: Corpus,
    training: RecogniserTraining,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[IdentityNetwork, float]:
    """Train on a corpus's identities.

    The last image of every second record is held out.

    Args:
        corpus: Opened for reading.
        training: Hyper-parameters.
        progress: Called with (steps done, steps in all).
        device: Of the training.

    Returns:
        The network in eval mode, on its device, and the share of held-out images whose identity it names.

    Raises:
        UsageError: The corpus has fewer than two identities.
        UnitError: The loss isn't finite.
    """
    names, labels = np.unique(corpus.identities, return_inverse=True)
    if len(names) < 2:
        raise UsageError("quality needs a corpus of two identities or more")
    network = build_network(len(names), training.seed).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=training.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate_factor, steps=training.steps))
    random = np.random.default_rng([training.seed, 0x5E4F])
    batches = (_draw_batch(corpus, labels, training.batch, random) for _ in range(training.steps))
    read = partial(_read_batch, corpus, training.size)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if network.classes.is_cuda else []):
        torch.manual_seed(training.seed)
        for step, (batch, images) in enumerate(prefetch(read, batches)):
            loss = _take_step(network, optimizer, images.to(device), torch.from_numpy(labels[batch.records]))
            if not math.isfinite(loss):
                raise UnitError(f"the recogniser's loss isn't finite at step {step}", "Lower --rate.")
            schedule.step()
            if progress:
                progress(step + 1, training.steps)
    return network.eval(), _held_out_accuracy(network, corpus, labels, training.size)


def load_images(corpus: Corpus, places: list[tuple[int, int]], size: int) -> Tensor:
    """Return images by (record, place), normalised, float32 of shape (N, 3, size, size)."""
    images = np.stack([corpus.image(int(number), int(index)) for number, index in places])
    pixels = torch.from_numpy(images).float() / 255
    if pixels.shape[-1] != size:
        pixels = nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    return (pixels - mean) / std


def prefetch(read: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield `read(item)` of each item, in order, computed by threads that are a few items ahead."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Batch(NamedTuple):
    records: NDArray[np.intp]
    places: list[int]
    flipped: NDArray[np.bool_]


def _draw_batch(corpus: Corpus, labels: NDArray[np.intp], size: int, random: np.random.Generator) -> _Batch:
    chosen = _draw_records(labels, size, random)
    places = [int(random.integers(_training_images(corpus, int(number)))) for number in chosen]
    return _Batch(chosen, places, random.random(len(chosen)) < 0.5)


def _read_batch(corpus: Corpus, size: int, batch: _Batch) -> tuple[_Batch, Tensor]:
    images = load_images(corpus, list(zip(batch.records.tolist(), batch.places, strict=True)), size)
    flipped = torch.from_numpy(batch.flipped)[:, None, None, None]
    return batch, torch.where(flipped, images.flip(3), images)


def _take_step(
    network: IdentityNetwork, optimizer: torch.optim.Optimizer, images: Tensor, target: Tensor
) -> float:
    """Take one step and return its loss; with a loss that isn't finite the weights stay."""
    loss = nn.functional.cross_entropy(network(images), target.to(images.device))
    value = float(loss.item())
    if math.isfinite(value):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return value


def _rate_factor(step: int, steps: int) -> float:
    """Return the factor of the learning rate: a linear rise, then a cosine to 0."""
    warm = max(1, steps // 10)
    after = (step - warm) / max(1, steps - warm)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * after))


def _draw_records(labels: NDArray[np.intp], batch: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Draw records, of different identities as long as there are."""
    order = random.permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    return order[np.sort(first)[:batch]]


def _training_images(corpus: Corpus, number: int) -> int:
    """Return the number of a record's images that are trained on."""
    return corpus.description.plan.alphas - (1 if number % 2 == 0 else 0)


@torch.no_grad()
def _held_out_accuracy(
    network: IdentityNetwork, corpus: Corpus, labels: NDArray[np.intp], size: int
) -> float:
    held = range(0, min(len(corpus), _MOST_HELD_OUT), 2)
    right = 0
    last = corpus.description.plan.alphas - 1
    parts = [held[start : start + 100] for start in range(0, len(held), 100)]
    read = prefetch(lambda part: load_images(corpus, [(number, last) for number in part], size), parts)
    for part, images in zip(parts, read, strict=True):
        named = network(images.to(network.classes.device)).argmax(dim=1).cpu()
        right += int((named == torch.from_numpy(labels[list(part)])).sum())
    return right / len(held)
