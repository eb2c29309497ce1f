"""Export of a pre-training: weights as safetensors, with a model card beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comface_bench.comface.facts import FORMAT, KIND
from comface_bench.comface.model import SHARED_HEAD, ComFace
from comface_bench.comface.model_card import write_card
from comface_bench.comface.synthesis.anny.attributes import (
    KILOGRAMS_PER_ALPHA,
    TISSUE_PER_ALPHA,
    YEARS_PER_ALPHA,
)
from comface_bench.core.errors import DataMissingError, WeightsFormatError
from comface_bench.core.files import replace_file
from comface_bench.engine.checkpoint import load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from comface_bench.comface.pretrain.folder import TrainingFolder

AU_PER_ALPHA = 0.5
"""Intensity 0 to 5 over α from −5 to 5."""


def task_head_starts(attributes: tuple[str, ...], generators: set[str]) -> dict[str, dict[str, Any]]:
    """Return the head that each task starts from, and the change of the task's target for a change of α by 1.

    Args:
        attributes: Those with a head of their own.
        generators: Names of the generators that the network learnt from. Only anny's α has a unit, so only
            its heads are scaled.

    Returns:
        By the target of a task: `head` and `per_alpha`. Any other target starts from the shared head.
    """
    anny = generators == {"anny"}
    known: dict[str, tuple[str, float]] = {
        "age": ("age", YEARS_PER_ALPHA),
        "weight_kg": ("weight", KILOGRAMS_PER_ALPHA + TISSUE_PER_ALPHA),
        **{name: (name, AU_PER_ALPHA) for name in attributes if name.startswith("au") and name[2:].isdigit()},
    }
    if "au12" not in attributes:
        known["au12"] = ("smile", AU_PER_ALPHA)
    return {
        target: {"head": head, "per_alpha": scale if anny else 1.0}
        for target, (head, scale) in known.items()
        if head in attributes
    }


def export(folder: TrainingFolder, backbone: nn.Module, feature_dim: int, out: Path) -> tuple[Path, Path]:
    """Write the best network of a training.

    Args:
        folder: The training's; it may still go on.
        backbone: Of the training's topology; overwritten.
        feature_dim: Its feature's size D.
        out: File to write, `.safetensors`; the card's name is the same with `.md`.

    Returns:
        The two files; the training's log lies beside them as `.log.jsonl`. Floating tensors are float16, but
        those that it can't hold float32; `backbone.*` are the backbone's, `heads.NAME` (D,) weigh the
        difference of the backbone's own features and answer in α.

    Raises:
        DataMissingError: No epoch is done yet.
        DataFormatError: The state of the best one is damaged.
        WeightsFormatError: A weight isn't finite.
    """
    from safetensors.torch import save

    facts = folder.read()
    try:
        best = load_tensors(folder.best)
    except FileNotFoundError:
        raise DataMissingError(
            f"{folder.root}: no epoch is done yet", f"comface-bench pretrain --out {folder.root} …"
        ) from None
    settings, line = facts["settings"], best["line"]
    own = tuple(facts["attributes"]) if settings["heads"] == "attribute" else ()
    network = ComFace(backbone, feature_dim, settings["projection_dim"], own)
    network.load_state_dict(best["model"])
    scale = settings["change_scale"]
    tensors = {f"backbone.{name}": value for name, value in network.backbone.state_dict().items()}
    tensors |= {f"heads.{name}": scale * weight for name, weight in network.head_weights().items()}
    generators = {corpus["generator"] for corpus in facts["corpora"].values()}
    facts_of_file = {
        "format": FORMAT,
        "backbone": settings["backbone"],
        "image_size": settings["image_size"],
        "starts": task_head_starts(own, generators),
        "epoch": line["epoch"],
        "corpora": facts["corpora"],
        "start": facts.get("start", {}),
        "settings": settings,
    }
    data = save(
        {name: _to_stored(name, tensor) for name, tensor in tensors.items()},
        {KIND: json.dumps(facts_of_file, sort_keys=True)},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, data)
    card = out.with_suffix(".md")
    replace_file(out.with_suffix(".log.jsonl"), folder.log.read_bytes() if folder.log.exists() else b"")
    replace_file(card, write_card(out.name, data, facts_of_file, facts, line, folder.lines()).encode())
    return out, card


def shared_head(tensors: Mapping[str, Tensor], path: Path) -> Tensor:
    """Return the weight (D,) of the head that all attributes share.

    Raises:
        WeightsFormatError: The file has none.
    """
    return _head(tensors, SHARED_HEAD, path)


def task_heads(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the weight (D,) that each task's head starts from, by the task's target, in the target's unit.

    Raises:
        WeightsFormatError: The file lacks a head that its facts name.
    """
    return {
        target: _head(tensors, start["head"], path) * float(start["per_alpha"])
        for target, start in facts["starts"].items()
    }


def _head(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if (found := tensors.get(f"heads.{name}")) is None:
        raise WeightsFormatError(
            f"{path.name} lacks heads.{name}", "Export it again: comface-bench export DIR"
        )
    return found.float()


def _to_stored(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as it is stored: float16, or float32 where that has no room for its values.

    A start from another method may bring a batch norm's variances beyond 65,504.
    """
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if not bool(tensor.isfinite().all()):
        raise WeightsFormatError(f"{name} has values that aren't finite", "Train with a lower rate.")
    small = tensor.half()
    return (small if bool(small.isfinite().all()) else tensor.float()).contiguous()
