"""Images of a corpus as a network takes them, read while it computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from comface_bench.core.card import IMAGENET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_THREADS = 2


def load_images(corpus: Corpus, places: list[tuple[int, int]], size: int) -> Tensor:
    """Return images by (record, place), normalised, shape (N, 3, size, size)."""
    images = np.stack([corpus.image(int(number), int(index)) for number, index in places])
    pixels = torch.from_numpy(images).float() / 255
    if pixels.shape[-1] != size:
        pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    return (pixels - mean) / std


def ahead(read: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """Yield what `read` makes of each item, in order, in threads that are a few items ahead."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Made]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
