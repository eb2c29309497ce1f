"""Batches: images decoded by threads ahead of the step that needs them, then augmented on the device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import torch

from comface_bench.comface.pretrain.degradation import degrade
from comface_bench.comface.pretrain.faces import MAX_IMAGES_PER_RECORD
from comface_bench.comface.pretrain.settings import AUGMENTATIONS
from comface_bench.core.card import IMAGENET
from comface_bench.core.errors import UnitError
from comface_bench.data.augment import render, resize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.pretrain.faces import FaceDataset, ImagePairs
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.card import Preprocess
    from comface_bench.engine.precision import Machine


_PIECE = 64  # images that one thread decodes at a time
BATCHES_AHEAD = 2
"""Batches that are loaded while one is computed."""
PATIENCE_S = 300.0
"""Seconds without a batch after which loading has failed."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One process's share of a step.

    Attributes:
        pairs: Its N pairs.
        images: RGB, uint8 (2N, 3, H, W): the N first images, then the N second ones; in pinned memory where
            there is a GPU.
        keys: A number for each image, to seed its views by, uint64 (2N,).
    """

    pairs: ImagePairs
    images: Tensor
    keys: NDArray[np.uint64]


def load_batches(
    faces: FaceDataset, batches: Sequence[ImagePairs], threads: int, patience: float = PATIENCE_S
) -> Iterator[Batch]:
    """Yield each batch of pairs with its images, in order.

    Args:
        faces: Source of the images.
        batches: The pairs of each.
        threads: Threads that decode.
        patience: Seconds to wait for a batch.

    Raises:
        UnitError: A batch didn't come in time: a file system that hangs.
        DataFormatError: A shard is cut short, or an image is damaged.
    """
    decoders = _Decoders(threads)
    waiting: deque[tuple[Batch, list[Future[None]]]] = deque()
    rest = iter(batches)
    try:
        while True:
            while len(waiting) <= BATCHES_AHEAD and (pairs := next(rest, None)) is not None:
                waiting.append(_submit_batch(decoders, faces, pairs))
            if not waiting:
                return
            batch, pieces = waiting.popleft()
            _wait_for_batch(pieces, patience)
            yield batch
    finally:
        decoders.stop([piece for _, pieces in waiting for piece in pieces])


class _Decoders:
    """Threads that end with the process: one that hangs in a read must not keep it alive.

    Args:
        count: Number of threads.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = SimpleQueue()
        self._count = count
        for _ in range(count):
            threading.Thread(target=self._work, name="decode", daemon=True).start()

    def submit(self, task: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._tasks.put((future, task))
        return future

    def stop(self, unread: list[Future[None]]) -> None:
        for future in unread:
            future.cancel()
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (entry := self._tasks.get()) is not None:
            future, task = entry
            if future.set_running_or_notify_cancel():
                try:
                    task()
                    future.set_result(None)
                except BaseException as error:
                    future.set_exception(error)


def _submit_batch(
    decoders: _Decoders, faces: FaceDataset, pairs: ImagePairs
) -> tuple[Batch, list[Future[None]]]:
    records, places = np.concatenate([pairs.record, pairs.record]), np.concatenate([pairs.x, pairs.y])
    shape = (len(records), 3, faces.side, faces.side)
    images = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    target = images.numpy()

    def decode(start: int) -> None:
        for row in range(start, min(start + _PIECE, len(records))):
            target[row] = faces.image(int(records[row]), int(places[row]))

    keys = (records * MAX_IMAGES_PER_RECORD + places).astype(np.uint64)
    pieces = [
        decoders.submit(lambda start=start: decode(start))  # type: ignore[misc]
        for start in range(0, len(records), _PIECE)
    ]
    return Batch(pairs, images, keys), pieces


def _wait_for_batch(pieces: list[Future[None]], patience: float) -> None:
    try:
        for piece in pieces:
            piece.result(patience)
    except TimeoutError:
        raise UnitError(
            f"no images for {patience:g} s: the loader is silent",
            "Is the corpus on a file system that hangs? Go on later with the same command.",
        ) from None


def augmented_images(
    batch: Batch,
    settings: Settings,
    epoch: int,
    size: int,
    machine: Machine,
    preprocess: Preprocess = IMAGENET,
) -> Tensor:
    """Render one view of each image, a function of settings, image and epoch.

    Returns:
        Normalised images, float32 (2N, 3, size, size), channels last.
    """
    images = _to_device(batch, machine)
    views = np.full(len(images), epoch, np.int64)
    rendered = render(images, AUGMENTATIONS[settings.augmentation], settings.seed, batch.keys, views, size)
    if settings.degradation == "photograph":
        rendered = degrade(rendered, settings.seed, batch.keys, views)
    return normalise(rendered, preprocess)


def plain_images(batch: Batch, size: int, machine: Machine, preprocess: Preprocess = IMAGENET) -> Tensor:
    """Resize images without augmentation; result as of `augmented_images`."""
    return normalise(resize(_to_device(batch, machine), size), preprocess)


def _to_device(batch: Batch, machine: Machine) -> Tensor:
    return batch.images.to(machine.device, non_blocking=True)


def normalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Return images in [0, 1] as a backbone takes them, to the bit as an encoder gives them to it.

    Args:
        images: RGB, float32 (N, 3, H, W), of a size that the backbone takes; overwritten.
        preprocess: The backbone's.
    """
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1)
        for values in (preprocess.mean, preprocess.std)
    )
    if preprocess.channels == "BGR":
        images = images.flip(1)
    if preprocess.scale != 1:
        images = images.mul_(preprocess.scale)
    return images.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
