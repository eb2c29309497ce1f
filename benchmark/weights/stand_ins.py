"""Stand-ins: what a checkpoint names besides tensors becomes one of these, and nothing of its own runs.

Pickles build their content by calling what they name. Neither numpy nor argparse is ever called by a file:
a name on the short list gives an inert object of this module, any other name is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
"""Element types of arrays that become tensors, as numpy writes them."""


class Discarded:
    """Something that is read past: a training script's options, a number of its log."""

    def __init__(self, *arguments: Any) -> None:
        del arguments

    def __setstate__(self, state: Any) -> None:
        del state


class StoredType:
    """An array's element type.

    Args:
        code: Kind and bytes, such as `f4`; further arguments say nothing about content.

    Raises:
        ValueError: It isn't a number.
    """

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in _NUMBERS:
            raise ValueError("arrays of anything but numbers aren't read")
        self.code: str = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        _, order, *fields = state
        # Sub-arrays, names and fields of a structure would follow here.
        if order not in ("<", ">", "|", "=") or any(fields[:3]):
            raise ValueError("arrays of structures aren't read")
        self.order = order


class StoredArray:
    """A numpy array: empty when its maker is called, complete when its state follows."""

    def __init__(self, *_: Any) -> None:
        self._content: tuple[tuple[int, ...], StoredType, bool, bytes] | None = None

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes over.

        Raises:
            ValueError: They contradict each other; nothing of the size that they state is made before.
        """
        shape, kind, by_columns, data = state[-4:]
        if isinstance(data, str):
            # Python 2 had one type for text and bytes; latin-1 gives each byte its own letter.
            data = data.encode("latin-1")
        if type(kind) is not StoredType or type(data) is not bytes or type(shape) is not tuple:
            raise ValueError("an array's state is malformed")
        count = 1
        for length in shape:
            if type(length) is not int or not 0 <= length <= len(data):
                raise ValueError("an array's shape doesn't fit its bytes")
            count *= length
        if len(shape) > 32 or count * int(kind.code[1:]) != len(data):
            raise ValueError("an array's shape doesn't fit its bytes")
        self._content = shape, kind, bool(by_columns), data

    def tensor(self) -> Tensor:
        """Return the array as a tensor of its own.

        Raises:
            ValueError: The file never said what the array holds.
        """
        import numpy as np
        import torch

        if self._content is None:
            raise ValueError("an array has no content")
        shape, kind, by_columns, data = self._content
        stored = np.frombuffer(data, np.dtype(kind.order + kind.code))
        array = stored.reshape(shape, order="F" if by_columns else "C")
        return torch.from_numpy(array.astype(kind.code, order="C", copy=True))


STAND_INS: Mapping[str, type] = {
    "argparse.Namespace": Discarded,
    "numpy.dtype": StoredType,
    # Named as the class of an array that is to be made.
    "numpy.ndarray": Discarded,
    # numpy 2 moved its core; both names stand in files.
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", StoredArray), ("scalar", Discarded))
    },
}
"""Name in a file → what is made in its place."""
