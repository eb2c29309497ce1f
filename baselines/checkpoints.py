"""Reading checkpoints: tensors only, never code; loading them: strictly, never in part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor, nn

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


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path, dropped: Iterable[str] = ()
) -> None:
    """Load tensors into a module: every one fits a key, every key gets one.

    Args:
        module: What to load into.
        tensors: Name → tensor.
        path: File they come from, for messages.
        dropped: Prefixes of names that are left out on purpose.

    Raises:
        WeightsFormatError: Names or shapes don't fit; the message lists some of each.
    """
    prefixes = tuple(dropped)
    kept = {name: tensor for name, tensor in tensors.items() if not (prefixes and name.startswith(prefixes))}
    wanted = module.state_dict()
    # Files written before torch 0.4.1 lack this counter, which no feature depends on.
    missing = [name for name in wanted if name not in kept and not name.endswith("num_batches_tracked")]
    strange = [name for name in kept if name not in wanted]
    shapes = [
        f"{name} {tuple(kept[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in kept and kept[name].shape != wanted[name].shape
    ]
    faults = [("lacks", missing), ("has unknown", strange), ("has the wrong shape of", shapes)]
    if any(names for _, names in faults):
        told = "; ".join(
            f"{verb} {len(names)}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for verb, names in faults
            if names
        )
        raise WeightsFormatError(f"{path.name} doesn't fit the network: it {told}")
    module.load_state_dict({**wanted, **kept}, strict=True)
