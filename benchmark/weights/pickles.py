"""A pickle reader for tensors by name: it knows few instructions and calls nothing that a file names.

Pickles build their content by calling what they name. No file makes numpy, argparse or torch run: a name on
the short lists (`STAND_INS`, `NETWORK_STAND_INS`) gives an inert object of this module, any other name is
refused. Python's own reader written in Python is the base, because its instructions can be left out one by
one and because, unlike the compiled one, it sizes nothing by a number that a file merely states.

NVIDIA's StyleGAN files name a class of their own and bring its source code along, which the original reader
runs. Here both are data that nobody looks at, and only the tree of arrays and tensors is taken.

StyleGAN3 (`torch_utils.persistence`): a dictionary of modules, each of them its source and its `__dict__`.
StyleGAN (`dnnlib.tflib`): three networks, each of them variables by name and further networks inside.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

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


class StoredObject(Discarded):
    """An object of a class that nobody runs; one that says that it is a module of torch is its tensors."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._state: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        # Modules have these two; whatever else lies in an object is read past.
        if type(state) is dict and {"_parameters", "_modules"} <= state.keys():
            self._state = state

    def entries(self) -> dict[str, Any]:
        """Return the tensors of the module and of those inside it, as `state_dict` names them.

        Raises:
            ValueError: It holds itself, or is nested without end.
        """
        found: dict[str, Any] = {}
        waiting: list[tuple[str, Any]] = [("", self)]
        while waiting:
            prefix, module = waiting.pop()
            if (
                not isinstance(module, StoredObject)
                or prefix.count(".") > _DEEPEST
                or len(found) > _MOST_ENTRIES
            ):
                raise ValueError(f"{prefix[:_LONGEST]} is no module, or nested without end")
            # An object that was made without its maker has no attributes at all.
            state = getattr(module, "_state", {})
            passing = state.get("_non_persistent_buffers_set", ())
            for group in ("_parameters", "_buffers"):
                for name, value in dict(state.get(group) or {}).items():
                    if value is not None and not (group == "_buffers" and name in passing):
                        found[f"{prefix}{name}"] = value
            inside = dict(state.get("_modules") or {}).items()
            waiting += [(f"{prefix}{name}.", inner) for name, inner in inside if inner is not None][::-1]
        return found


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

_DEEPEST, _MOST_ENTRIES = 50, 100_000
"""Modules inside each other, and tensors, of one network; no real one comes near."""

_LONGEST = 500
"""Characters of the names that stand before an entry's own."""


class StoredNumber(StoredArray):
    """A numpy number: an array without axes."""

    def __init__(self, kind: Any = None, data: Any = b"") -> None:
        super().__init__()
        self.__setstate__(((), kind, False, data))


class StoredStorage:
    """The bytes of a tensor's memory, which are a small torch file of their own."""

    def __init__(self, data: Any) -> None:
        # Archives, whose members can unfold without end, are never what torch writes here.
        if type(data) is not bytes or data.startswith(b"PK"):
            raise ValueError("a tensor's memory is malformed")
        self.data = data


class StoredTensor:
    """A tensor: its memory, and where in it the numbers are."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> None:
        if type(storage) is not StoredStorage or type(shape) is not tuple or type(strides) is not tuple:
            raise ValueError("a tensor is malformed")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or not 0 <= n < 1 << 48 for n in numbers):
            raise ValueError("a tensor is malformed")
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    def tensor(self) -> Tensor:
        """Return the tensor, with memory of its own.

        Raises:
            ValueError: Its memory can't be read as plain numbers, or it lies outside.
        """
        import torch

        try:
            memory = torch.load(io.BytesIO(self._storage.data), map_location="cpu", weights_only=True)
        except Exception as error:  # It fails in a dozen ways, with advice to run what is in the file.
            raise ValueError("a tensor's memory can't be read as plain numbers") from error
        if not isinstance(memory, torch.storage.TypedStorage):
            raise ValueError("a tensor's memory is something else")
        flat = torch.empty(0, dtype=memory.dtype).set_(memory)
        last = self._offset + sum(
            (n - 1) * step for n, step in zip(self._shape, self._strides, strict=True) if n
        )
        # A stride of 0 would make a few numbers fill any shape.
        count = math.prod(self._shape)
        if count and max(last + 1, count) > flat.numel():
            raise ValueError("a tensor lies outside its memory")
        view: Tensor = flat.as_strided(self._shape, self._strides, self._offset)
        return view.clone(memory_format=torch.contiguous_format)


class StoredModule:
    """A module of torch: the content of its `__dict__`."""

    separator = "."

    def __init__(self, meta: Any) -> None:
        if type(meta) is not dict or type(meta.get("state")) is not dict:
            raise ValueError("a module has no state")
        self._state: dict[Any, Any] = meta["state"]

    def parts(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return its own parameters and buffers by name, and the modules inside by name."""
        own: dict[Any, Any] = {}
        inside: dict[Any, Any] = {}
        for group, into in (("_parameters", own), ("_buffers", own), ("_modules", inside)):
            content = self._state.get(group, {})
            if type(content) is not dict:
                raise ValueError(f"{group} of a module is malformed")
            into.update({name: value for name, value in content.items() if value is not None})
        return own, inside


class StoredNetwork:
    """A network of TensorFlow: variables by name, and components."""

    separator = "/"

    def __init__(self, *_: Any) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def parts(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return its own variables by name, and the components by name."""
        if type(self._state) is not dict or type(variables := self._state.get("variables")) is not list:
            raise ValueError("a network has no variables")
        components = self._state.get("components", {})
        if type(components) is not dict or any(
            type(pair) is not tuple or len(pair) != 2 for pair in variables
        ):
            raise ValueError("a network is malformed")
        if any(type(name) is not str for name, _ in variables):
            raise ValueError("a variable has no name")
        return dict(variables), components


def network_entries(content: Any) -> Mapping[str, Any] | None:
    """Return the entries of the generator that a pickle of networks holds, or None if it isn't one.

    Of `{"G": …, "D": …, "G_ema": …}` that is `G_ema`, of `(G, D, Gs)` it is `Gs`: the averaged ones, which
    make the images that are published.

    Returns:
        Arrays and tensors by name; those of inner networks after theirs, with a dot (StyleGAN3) or a slash
        (StyleGAN) between.

    Raises:
        ValueError: The network is malformed.
    """
    if isinstance(content, Mapping):
        content = content.get("G_ema")
    elif isinstance(content, tuple | list) and len(content) == 3:
        content = content[2]
    if not isinstance(content, StoredModule | StoredNetwork):
        return None
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        prefix, network = waiting.pop()
        # One that holds itself, or the same one many times, would have names without end.
        if type(network) is not type(content) or id(network) in seen or len(prefix) > _LONGEST:
            raise ValueError(f"{prefix[:_LONGEST]} is no network, or stands there twice")
        seen.add(id(network))
        own, inside = network.parts()
        found |= {f"{prefix}{name}": value for name, value in own.items()}
        within = [(f"{prefix}{name}{network.separator}", inner) for name, inner in inside.items()]
        waiting += reversed(within)
    return found


def _take_parameter(data: Any = None, *_: Any) -> Any:
    return data


NETWORK_STAND_INS: Mapping[str, Any] = {
    "torch_utils.persistence._reconstruct_persistent_obj": StoredModule,
    "torch._utils._rebuild_tensor_v2": StoredTensor,
    "torch._utils._rebuild_parameter": _take_parameter,
    "torch.storage._load_from_bytes": StoredStorage,
    "dnnlib.tflib.network.Network": StoredNetwork,
    # A module's set of names; protocols 2 and 3 make sets by name.
    "builtins.set": Discarded,
    "__builtin__.set": Discarded,
    "numpy.core.multiarray.scalar": StoredNumber,
    "numpy._core.multiarray.scalar": StoredNumber,
}
"""Name in a file → what is made in its place."""

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
            **dict.fromkeys(discarded, StoredObject),
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
        if type(built) in (Discarded, StoredObject, StoredArray, StoredType, StoredNetwork):
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
    """Encode a text as Python 3 asks for where it writes bytes for Python 2."""
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
