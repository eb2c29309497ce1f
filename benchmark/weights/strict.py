"""Loading checkpoints: strictly, never in part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor, nn


def select_backbone(
    tensors: Mapping[str, Tensor], path: Path, prefixes: Iterable[str] = ("",), dropped: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Take the backbone's tensors out of a checkpoint and its prefix off their names.

    Args:
        tensors: Name in the file → tensor.
        path: The file, for messages.
        prefixes: What may stand before the backbone's keys; the first that any key has counts for all.
        dropped: Beginnings of names, as they stand in the file, that are left out on purpose.

    Raises:
        WeightsFormatError: No key has any of the prefixes; or a key has it not and isn't to be dropped.
    """
    dropped = tuple(dropped)
    kept = {name: tensor for name, tensor in tensors.items() if not (dropped and name.startswith(dropped))}
    prefixes = tuple(prefixes)
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in kept)), None)
    if prefix is None:
        raise WeightsFormatError(
            f"{path.name} holds no backbone: none of its {len(tensors)} keys begins with"
            f" {' or '.join(map(repr, prefixes))}; its first: {', '.join(list(tensors)[:3])}",
            "It is another file, or one of another format.",
        )
    strange = [name for name in kept if not name.startswith(prefix)]
    if strange:
        raise WeightsFormatError(
            f"{path.name} has {len(strange)} keys outside {prefix!r} that nobody knows:"
            f" {', '.join(strange[:3])}{' …' if len(strange) > 3 else ''}"
        )
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items()}


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
    module.load_state_dict({**module.state_dict(), **fit_strictly(module, kept, path)}, strict=True)


def fit_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """Return tensors if every one fits a key of a module and every key gets one; nothing is loaded.

    Raises:
        WeightsFormatError: As `load_strictly` raises it.
    """
    wanted = module.state_dict()
    # Files written before torch 0.4.1 lack this counter, which no feature depends on.
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    strange = [name for name in tensors if name not in wanted]
    both = [name for name in wanted if name in tensors]
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in both
        if tensors[name].shape != wanted[name].shape
    ]
    # Whole numbers in the place of fractions are a quantised network's, and mean something else.
    kinds = [
        f"{name} of {str(tensors[name].dtype).removeprefix('torch.')}"
        for name in both
        if wanted[name].is_floating_point() and not tensors[name].is_floating_point()
    ]
    faults = [
        ("lacks", missing),
        ("has unknown", strange),
        ("has the wrong shape of", shapes),
        ("has the wrong kind of", kinds),
    ]
    if any(names for _, names in faults):
        listed = "; ".join(
            f"{verb} {len(names)}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for verb, names in faults
            if names
        )
        raise WeightsFormatError(f"{path.name} doesn't fit the network: it {listed}")
    return tensors
