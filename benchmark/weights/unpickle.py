"""A pickle reader for arrays by name: it knows few instructions and calls nothing that a file names.

Python's own reader written in Python is the base, because its instructions can be left out one by one
and because, unlike the compiled one, it sizes nothing by a number that a file merely states.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from comface_bench.weights.networks import NETWORK_STAND_INS, StoredNetwork
from comface_bench.weights.stand_ins import STAND_INS, Discarded, StoredArray, StoredType

_KEPT = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.FLOAT, pickle.BINFLOAT),
    *(pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.LONG4),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING),
    *(pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8),
    *(pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE),
    *(pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.GLOBAL, pickle.STACK_GLOBAL),
)
"""Instructions that build plain values, taken over as they are."""


def unpickle(data: bytes, discarded: Iterable[str] = ()) -> Any:
    """Read a pickle of plain values, numpy arrays and NVIDIA's networks; Python 2's text is latin-1.

    Args:
        data: The whole pickle.
        discarded: Further names, `module.name`, that are read past.

    Returns:
        The content; arrays are `StoredArray`, ordered dictionaries plain ones, networks `StoredModule` and
        `StoredNetwork`, and sets are read past.

    Raises:
        UnpicklingError: It names anything else, or uses an instruction that such a pickle doesn't need.
        Exception: It is malformed, which shows in many ways.
    """
    return _Reader(data, discarded).load()


class _Reader(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {}
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, discarded: Iterable[str]) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self._makers: Mapping[str, Callable[..., Any]] = {
            **dict.fromkeys(discarded, Discarded),
            **STAND_INS,
            **NETWORK_STAND_INS,
            "_codecs.encode": _encode,
            "collections.OrderedDict": _make_dict,
            "dnnlib.util.EasyDict": _make_dict,
        }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._makers:
            raise pickle.UnpicklingError(f"GLOBAL {full} isn't allowed")
        return self._makers[full]

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        made = self.stack[-1]
        # By identity: a value that merely claims to equal a maker isn't one.
        if not any(made is maker for maker in self._makers.values()) or type(arguments) is not tuple:
            raise pickle.UnpicklingError("only what is on the list may be made")
        self.stack[-1] = made(*arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if type(built) in (Discarded, StoredArray, StoredType, StoredNetwork):
            built.__setstate__(state)
        elif type(built) is not dict:
            raise pickle.UnpicklingError("only what is on the list may be changed")
        # Attributes of a dictionary, such as the version numbers of a state dict, are read past.

    def load_empty_set(self) -> None:
        self.append(Discarded())

    def load_additems(self) -> None:
        self.pop_mark()  # The members of a set are read past, as the set is.

    def load_dict(self) -> None:
        items = self.pop_mark()  # Also changes where `append` puts things.
        self.append(_pair_up(items))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError("only dictionaries have entries")
        self.stack[-1].update(_pair_up(items))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Do what Python 3 asks for where it writes bytes for Python 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("only bytes are decoded")
    return text.encode("latin-1")


def _make_dict(pairs: Any = ()) -> dict[Any, Any]:
    return _pair_up([part for pair in pairs for part in pair])


def _pair_up(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    # A key made of nested tuples can take for ever to hash.
    if any(type(key) not in (str, int) for key in keys):
        raise pickle.UnpicklingError("keys are text or numbers")
    return dict(zip(keys, items[1::2], strict=True))


_Reader.dispatch.update({ord(code): pickle._Unpickler.dispatch[ord(code)] for code in _KEPT})
_Reader.dispatch.update(
    {
        ord(pickle.REDUCE): _Reader.load_reduce,
        # A class is made like anything else: by calling the maker that stands for it.
        ord(pickle.NEWOBJ): _Reader.load_reduce,
        ord(pickle.BUILD): _Reader.load_build,
        ord(pickle.EMPTY_SET): _Reader.load_empty_set,
        ord(pickle.ADDITEMS): _Reader.load_additems,
        ord(pickle.DICT): _Reader.load_dict,
        ord(pickle.SETITEM): _Reader.load_setitem,
        ord(pickle.SETITEMS): _Reader.load_setitems,
    }
)
