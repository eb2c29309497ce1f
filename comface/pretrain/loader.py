"""Batches: images read and decoded by threads, ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.pretrain.faces import MOST_IMAGES
from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

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
        images: RGB, uint8 (2N, 3, H, W): the N first images, then the N second ones.
        keys: A number for each image, to seed its views by, uint64 (2N,).
    """

    pairs: Pairs
    images: NDArray[np.uint8]
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
        UnitError: A batch didn't come in time: a file system that hangs, or threads that died.
        DataFormatError: A shard is cut short.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[tuple[Pairs, list[Future[list[NDArray[np.uint8]]]]]] = deque()
    rest = iter(batches)
    try:
        while True:
            while len(waiting) <= AHEAD and (pairs := next(rest, None)) is not None:
                waiting.append((pairs, _submit(pool, faces, pairs)))
            if not waiting:
                return
            pairs, pieces = waiting.popleft()
            yield _collect(pairs, pieces, patience)
    finally:
        # A consumer that stops early, or an error, doesn't wait for what nobody reads.
        pool.shutdown(wait=False, cancel_futures=True)


def _places(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.concatenate([pairs.record, pairs.record]), np.concatenate([pairs.x, pairs.y])


def _submit(pool: ThreadPoolExecutor, faces: Faces, pairs: Pairs) -> list[Future[list[NDArray[np.uint8]]]]:
    records, places = (column.tolist() for column in _places(pairs))

    def decode(start: int) -> list[NDArray[np.uint8]]:
        stop = start + _PIECE
        return [faces.image(r, p) for r, p in zip(records[start:stop], places[start:stop], strict=True)]

    return [pool.submit(decode, start) for start in range(0, len(records), _PIECE)]


def _collect(pairs: Pairs, pieces: list[Future[list[NDArray[np.uint8]]]], patience: float) -> Batch:
    try:
        images = [image for piece in pieces for image in piece.result(patience)]
    except TimeoutError:
        raise UnitError(
            f"no images for {patience:g} s: the loader is silent",
            "Is the corpus on a file system that hangs? Go on later with the same command.",
        ) from None
    records, places = _places(pairs)
    return Batch(pairs, np.stack(images), (records * MOST_IMAGES + places).astype(np.uint64))
