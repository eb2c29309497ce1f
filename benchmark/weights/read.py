"""Reading checkpoints: tensors only, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor

_CONTAINERS = ("state_dict", "model")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by name, from safetensors or a torch file without code.

    A state dict inside the usual containers (`state_dict`, `model`) is unwrapped.

    Raises:
        WeightsFormatError: The file is broken, holds anything but tensors in those places, would
            have to run code, or has values that aren't finite.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file makes the readers fail in a dozen ways.
        # torch's own advice on such files is to run what is in them; it isn't passed on.
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsFormatError(
                f"{path.name} can't be read as plain tensors: it would have to run {code[1]}",
                "Files that carry code are never loaded; save the state dict as safetensors.",
            ) from error
        raise WeightsFormatError(
            f"{path.name} can't be read as plain tensors: it is no checkpoint, or a damaged one",
            "Get it again. Files that carry code are never loaded, only safetensors and plain state dicts.",
        ) from error
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    if not isinstance(content, Mapping) or not content:
        raise WeightsFormatError(f"{path.name} holds no state dict")
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise WeightsFormatError(f"{path.name}: entry {name!r} is no tensor")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{path.name}: {name} holds values that aren't finite")
        tensors[name] = value
    return tensors
