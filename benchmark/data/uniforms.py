"""Counter-based random numbers: a pure function of (seed, image, view, slot).

A counter-based generator has no state to advance, so the numbers of one view never depend on the
batch, the order or the worker it is drawn in. The mixer is the finaliser of SplitMix64 (Steele, Lea
and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), chained over the address.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def image_key(name: str) -> int:
    """Return the 64-bit key of an image: BLAKE2b of its name relative to the data root.

    Args:
        name: As in the manifest.

    Returns:
        An integer in [0, 2**64), the same on every machine.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def uniforms(
    seed: int, image_keys: NDArray[np.uint64], views: NDArray[np.int64], slots: int
) -> NDArray[np.float64]:
    """Draw uniform numbers for views of images.

    Args:
        seed: Any integer; its lowest 64 bits count.
        image_keys: Key of each image, uint64 (N,).
        views: Number of each view, int64 (N,).
        slots: Numbers a view. Slot j has the same value however many are drawn.

    Returns:
        float64 (N, slots) in [0, 1), multiples of 2**-53.
    """
    start = _mix(np.array([(int(seed) + _GOLDEN) & _MASK], dtype=np.uint64))
    stream = _mix(_mix(start ^ image_keys.astype(np.uint64)) ^ views.astype(np.uint64))
    steps = np.arange(1, slots + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _mix(stream[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words one to one, so that any changed bit changes half of the result's."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
