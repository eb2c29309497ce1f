"""Matrix products that stay on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# OpenBLAS hands no product of fewer multiplications to its threads.
_LIMIT = 2**18
_FEWEST_ROWS = 8


def product(a: Matrix, b: Matrix) -> Matrix:
    """Multiply two matrices in pieces so small that BLAS uses one thread for each.

    Threads wait for one another in each of many short products; where other programs are at work on the same
    cores, that makes them ten times slower than one thread.

    Args:
        a: Shape (M, K).
        b: Shape (K, N).

    Returns:
        Shape (M, N).
    """
    (rows, inner), columns = a.shape, b.shape[1]
    width = max(1, min(columns, _LIMIT // (inner * _FEWEST_ROWS)))
    height = max(1, _LIMIT // (inner * width))
    result = np.empty((rows, columns))
    for left in range(0, columns, width):
        piece = np.ascontiguousarray(b[:, left : left + width])
        for top in range(0, rows, height):
            result[top : top + height, left : left + width] = a[top : top + height] @ piece
    return result
