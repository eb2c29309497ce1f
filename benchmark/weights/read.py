"""Reading checkpoints: tensors only, never code."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.diagnosis import explain_unreadable
from comface_bench.weights.dlib_net import is_dlib, read_dlib
from comface_bench.weights.onnx import is_onnx, read_onnx
from comface_bench.weights.pickles import (
    STAND_INS,
    StoredArray,
    StoredObject,
    StoredTensor,
    network_entries,
    unpickle,
)
from comface_bench.weights.tfjs import is_tfjs

if TYPE_CHECKING:
    from torch import Tensor

_CONTAINERS = ("state_dict", "model")
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""The number that torch files begin with which aren't zip archives."""
_SYSTEM = (
    *("os", "posix", "nt", "sys", "builtins", "__builtin__", "subprocess", "commands", "shutil", "socket"),
    "runpy",
)
"""Modules that no training script leaves a name of in its checkpoint."""


class BlockedGlobalError(WeightsFormatError):
    """A checkpoint that names something which would have to run.

    Args:
        path: The file.
        name: What it names, `module.name`.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.hostile = name.partition(".")[0] in _SYSTEM
        super().__init__(
            f"{path.name} can't be read as plain tensors: it would have to run {name}",
            "Files that carry code are never loaded. "
            + (
                "No checkpoint needs this: don't open the file elsewhere either."
                if self.hostile
                else f"Take its tensors out, running nothing: comface-bench weights convert {path}"
            ),
        )


def read_tensors(path: Path, discarded: Iterable[str] = ()) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by name, whatever its file is called.

    Safetensors, torch files in either format, plain pickles of numpy arrays, networks of dlib, ONNX models,
    and NVIDIA's pickles of StyleGAN and StyleGAN3 are taken. A state dict inside the usual containers
    (`state_dict`, `model`) is unwrapped, and so is the averaged generator among networks; what lies beside it
    is left. `read_parts` gives every state dict of a file.

    Args:
        path: The file.
        discarded: Names, `module.name`, that are read past where the file asks for them; nothing of
            theirs is imported or called. Options of training scripts (`argparse.Namespace`) and numpy's
            numbers always are.

    Raises:
        BlockedGlobalError: The file would have to run something.
        WeightsFormatError: The file is broken, states sizes that it can't have, holds anything but
            tensors in those places, or has values that aren't finite.
    """
    return check_tensors(path, _main_part(path, _open(path, tuple(discarded))))


def read_parts(path: Path, discarded: Iterable[str] = ()) -> dict[str, dict[str, Tensor]]:
    """Read every state dict of a checkpoint, by the names of the dictionaries that it lies in.

    A part is called `state_dict` or `ema.model`, or nothing where the file is one state dict. Its numbers
    aren't looked at: that is for `check_tensors`, of the part that is used.

    Args:
        path: The file.
        discarded: As for `read_tensors`.

    Raises:
        BlockedGlobalError: The file would have to run something.
        WeightsFormatError: The file is broken or holds no state dict.
    """
    content = _open(path, tuple(discarded))
    found = dict(_state_dicts(content))
    # Without any, this says what stands in the place of one.
    found = found or {"": check_tensors(path, _main_part(path, content))}
    # The usual containers first.
    order = sorted(found, key=lambda part: not {*part.split(".")} <= {*_CONTAINERS, ""})
    return {part: {name: _tensor(path, name, value) for name, value in found[part].items()} for part in order}


def check_tensors(path: Path, tensors: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return tensors of a file that are plain, within its size and finite.

    Raises:
        WeightsFormatError: One isn't.
    """
    size = path.stat().st_size
    return {name: _check(path, name, value, size) for name, value in tensors.items()}


def _main_part(path: Path, content: Any) -> Mapping[Any, Any]:
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    if not isinstance(content, Mapping) or not content:
        raise WeightsFormatError(f"{path.name} holds no state dict")
    return content


_DEEPEST = 4
"""Dictionaries inside each other that a state dict is looked for in."""


def _state_dicts(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Find the dictionaries of tensors by name, and of nothing else, in a checkpoint."""
    if not isinstance(content, Mapping) or not content or len(place) > _DEEPEST:
        return
    if all(isinstance(name, str) and _is_tensor(value) for name, value in content.items()):
        yield ".".join(place), content
        return
    for name, value in content.items():
        if isinstance(name, str):
            yield from _state_dicts(value, (*place, name))


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, StoredArray | StoredTensor | torch.Tensor)


def _open(path: Path, discarded: tuple[str, ...]) -> Any:
    """Read a file's content; networks in it become their tensors by name."""
    try:
        content = _read(path, discarded)
    except WeightsFormatError:
        raise
    except Exception as error:  # A damaged file makes the readers fail in a dozen ways.
        # torch's own advice on such files is to run what is in them; it isn't passed on.
        if blocked := re.search(r"GLOBAL (\S+)", str(error)):
            raise BlockedGlobalError(path, blocked[1]) from error
        raise _unreadable(path, *explain_unreadable(path)) from error
    try:
        return network_entries(content) or _without_objects(content)
    except ValueError as error:
        raise WeightsFormatError(f"{path.name}: {error}") from error


def _without_objects(content: Any) -> Any:
    """Put the tensors of a network in the place of the object that it was stored as."""
    if isinstance(content, StoredObject):
        return content.entries()
    if isinstance(content, Mapping):
        return {
            name: value.entries() if isinstance(value, StoredObject) else value
            for name, value in content.items()
        }
    return content


def _unreadable(path: Path, reason: str, hint: str) -> WeightsFormatError:
    return WeightsFormatError(f"{path.name} can't be read as plain tensors: {reason}", hint)


def _read(path: Path, discarded: tuple[str, ...]) -> Any:
    with path.open("rb") as stream:
        head = stream.read(64)
    if _is_safetensors(head, path.stat().st_size):
        from safetensors.torch import load_file

        return load_file(path)
    if is_dlib(head):
        return read_dlib(path)
    if is_onnx(head):
        return read_onnx(path)
    if is_tfjs(path):
        # A digest of this file would say nothing of the numbers, which lie in others.
        raise _unreadable(
            path,
            "it is the manifest of a TensorFlow.js model, whose numbers lie beside it",
            f"Put both into one file: comface-bench weights convert {path}",
        )
    zipped = head.startswith(b"PK\x03\x04")
    if not zipped and _LEGACY_MAGIC not in head:
        return unpickle(path.read_bytes(), discarded)
    if zipped:
        _check_archive(path)
    import torch

    allowed = dict.fromkeys(discarded, StoredObject) | dict(STAND_INS)
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in allowed.items()]
    # A stream: by its name, torch takes a file of its own that is called .safetensors for another's.
    with torch.serialization.safe_globals(stand_ins), path.open("rb") as stream:
        return torch.load(stream, map_location="cpu", weights_only=True)


def _is_safetensors(head: bytes, size: int) -> bool:
    # The length of a JSON header, then the header.
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _check_archive(path: Path) -> None:
    """Refuse programs, what torch never writes (compressed, overlapping, too large members), and damage."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise _unreadable(
                path,
                "it is a TorchScript archive, a program with weights inside",
                "Programs are never run. docs/weights.md says how to take the weights out on a machine where"
                " you trust it.",
            )
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a member is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("the members are larger than the file")
        for member in members:
            # torch itself compares none, and can be told to write none (`set_crc32_options`).
            if member.CRC and not _is_whole(archive, member):
                raise _unreadable(
                    path,
                    f"{member.filename} in it isn't as it was written",
                    "It was damaged on its way or on the disk: fetch or copy it again.",
                )


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Return whether a member has the bytes whose CRC-32 the archive states."""
    try:
        with archive.open(member) as stream:
            while stream.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _tensor(path: Path, name: object, value: Any) -> Any:
    if isinstance(value, StoredArray | StoredTensor):
        try:
            return value.tensor()
        except ValueError as error:
            raise WeightsFormatError(f"{path.name}: {name}: {error}") from error
    return value


def _check(path: Path, name: object, value: Any, size: int) -> Tensor:
    import torch

    value = _tensor(path, name, value)
    if not isinstance(name, str) or type(value) not in (torch.Tensor, torch.nn.Parameter):
        # Not its repr: a hostile value may have none, or one without end.
        shown = repr(name) if isinstance(name, str | int) else f"under a {type(name).__name__}"
        raise WeightsFormatError(f"{path.name}: entry {shown} is no tensor")
    assert isinstance(value, torch.Tensor)
    plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or value.dtype not in _plain_types():
        raise WeightsFormatError(f"{path.name}: {name} is no plain tensor of numbers")
    # A few stored numbers can claim to fill any shape; computing with that would take all memory.
    if value.numel() * value.element_size() > size:
        raise WeightsFormatError(f"{path.name}: {name} states more numbers than the file holds")
    if value.is_floating_point() and not _all_finite(value):
        raise WeightsFormatError(f"{path.name}: {name} holds values that aren't finite")
    return value.detach()


def _all_finite(values: Tensor) -> bool:
    """Return whether all numbers are finite; ten times as fast as asking each of them."""
    import torch

    # A NaN makes both of them NaN.
    extremes = torch.stack(torch.aminmax(values)) if values.numel() else values
    return bool(torch.isfinite(extremes).all())


def _plain_types() -> tuple[Any, ...]:
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return (*floats, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
