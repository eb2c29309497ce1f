"""Batches: images read and decoded by threads, ahead of the step that needs them."""

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

from comface_bench.comface.pretrain.faces import MOST_IMAGES
from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.pretrain.faces import Faces, Pairs

_PIECE = 64  # images that one thread decodes at a time
AHEAD = 2
"""Batches that are loaded while one is computed."""
PATIENCE_S = 300.0
"""Seconds without a batch after which the loader is taken for dead."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one process computes in a step.

    Attributes:
        pairs: Its N pairs.
        images: RGB, uint8 (2N, 3, H, W): the N first images, then the N second ones; in pinned memory where
            there is a GPU.
        keys: A number for each image, to seed its views by, uint64 (2N,).
    """

    pairs: Pairs
    images: Tensor
    keys: NDArray[np.uint64]


def load_batches(
    faces: Faces, batches: Sequence[Pairs], threads: int, patience: float = PATIENCE_S
) -> Iterator[Batch]:
    """Yield each batch of pairs with its images, in order.

    Args:
        faces: Where the images are.
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
            while len(waiting) <= AHEAD and (pairs := next(rest, None)) is not None:
                waiting.append(_begin(decoders, faces, pairs))
            if not waiting:
                return
            batch, pieces = waiting.popleft()
            _finish(pieces, patience)
            yield batch
    finally:
        decoders.stop([piece for _, pieces in waiting for piece in pieces])


class _Decoders:
    """Threads that die with the process: one that hangs in a read must not keep it alive.

    Args:
        count: How many.
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


def _begin(decoders: _Decoders, faces: Faces, pairs: Pairs) -> tuple[Batch, list[Future[None]]]:
    records, places = np.concatenate([pairs.record, pairs.record]), np.concatenate([pairs.x, pairs.y])
    shape = (len(records), 3, faces.side, faces.side)
    images = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    target = images.numpy()

    def decode(start: int) -> None:
        for row in range(start, min(start + _PIECE, len(records))):
            target[row] = faces.image(int(records[row]), int(places[row]))

    keys = (records * MOST_IMAGES + places).astype(np.uint64)
    pieces = [
        decoders.submit(lambda start=start: decode(start))  # type: ignore[misc]
        for start in range(0, len(records), _PIECE)
    ]
    return Batch(pairs, images, keys), pieces


def _finish(pieces: list[Future[None]], patience: float) -> None:
    try:
        for piece in pieces:
            piece.result(patience)
    except TimeoutError:
        raise UnitError(
            f"no images for {patience:g} s: the loader is silent",
            "Is the corpus on a file system that hangs? Go on later with the same command.",
        ) from None
