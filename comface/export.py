"""Export of pre-trainings: weights as safetensors, with a model card beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from comface_bench.comface.facts import FORMAT, KIND
from comface_bench.comface.model import SHARED_HEAD, ComFace
from comface_bench.comface.model_card import ExportedTraining, write_card
from comface_bench.comface.pretrain.retention import choose_frozen, list_moving_averages
from comface_bench.comface.synthesis.anny.attributes import (
    KILOGRAMS_PER_ALPHA,
    TISSUE_PER_ALPHA,
    YEARS_PER_ALPHA,
)
from comface_bench.core.errors import DataMissingError, UsageError, WeightsFormatError
from comface_bench.core.files import replace_file
from comface_bench.engine.checkpoint import load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


def export(
    folders: Sequence[TrainingFolder],
    backbone: nn.Module,
    feature_dim: int,
    out: Path,
    start: Mapping[str, Tensor] | None = None,
    start_share: float = 0.0,
) -> tuple[Path, Path]:
    """Write the best network of a training, or a mean of several trainings, or of these and their start.

    Networks that learnt from one start lie close enough for the mean of their weights to be one, too, and it
    tends to err less than each (Wortsman et al., "Model soups", ICML 2022). On the line from the start to
    what was trained lie networks that have learnt most of it and forgotten little (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).

    Args:
        folders: The trainings'; they may still go on. Several differ in nothing but their seeds.
        backbone: Of the trainings' topology; overwritten.
        feature_dim: Its feature's size D.
        out: File to write, `.safetensors`; the card's name is the same with `.md`.
        start: The backbone that the trainings started from.
        start_share: Its share in the backbone's weights, 0 to less than 1; heads are the trainings'.

    Returns:
        The two files; the trainings' logs, one after the other, lie beside them as `.log.jsonl`. Floating
        tensors are float16, but those that it can't hold float32; `backbone.*` are the backbone's,
        `heads.NAME` (D,) weigh the difference of the backbone's own features and answer in α.

    Raises:
        DataMissingError: No epoch is done yet.
        DataFormatError: The state of the best one is damaged.
        UsageError: Of several trainings, or of one and its start, there is no mean.
        WeightsFormatError: A weight isn't finite.
    """
    from safetensors.torch import save

    trainings = [_read_best(folder) for folder in folders]
    facts, settings = trainings[0].facts, trainings[0].facts["settings"]
    _require_alike(folders, trainings)
    if len(trainings) > 1 or start_share:
        _require_averages(settings, backbone)
    own = tuple(facts["attributes"]) if settings["heads"] == "attribute" else ()
    network = ComFace(backbone, feature_dim, settings["projection_dim"], own)
    several: list[dict[str, Tensor]] = []
    scale = settings["change_scale"]
    for training in trainings:
        network.load_state_dict(training.model)
        tensors = {f"backbone.{name}": value.clone() for name, value in backbone.state_dict().items()}
        tensors |= {f"heads.{name}": scale * weight for name, weight in network.head_weights().items()}
        several.append(tensors)
    generators = {corpus["generator"] for corpus in facts["corpora"].values()}
    facts_of_file = {
        "format": FORMAT,
        "backbone": settings["backbone"],
        "image_size": settings["image_size"],
        "starts": task_head_starts(own, generators),
        "epoch": trainings[0].line["epoch"],
        "corpora": facts["corpora"],
        "start": facts.get("start", {}),
        "settings": settings,
    }
    if len(trainings) > 1:
        facts_of_file["mean_of"] = [
            {"seed": training.seed, "epoch": training.line["epoch"]} for training in trainings
        ]
    mean = _mean(several, [1.0] * len(several))
    if start is not None and start_share:
        facts_of_file["start_share"] = start_share
        learnt = {name: mean[f"backbone.{name}"] for name in start}
        mixed = _mean([learnt, start], [1 - start_share, start_share])
        mean |= {f"backbone.{name}": tensor for name, tensor in mixed.items()}
    data = save(
        {name: _to_stored(name, tensor) for name, tensor in mean.items()},
        {KIND: json.dumps(facts_of_file, sort_keys=True)},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, data)
    card = out.with_suffix(".md")
    logs = [folder.log.read_bytes() for folder in folders if folder.log.exists()]
    replace_file(out.with_suffix(".log.jsonl"), b"".join(logs))
    replace_file(card, write_card(out.name, data, facts_of_file, trainings).encode())
    return out, card


def _read_best(folder: TrainingFolder) -> ExportedTraining:
    facts = folder.read()
    try:
        best = load_tensors(folder.best)
    except FileNotFoundError:
        raise DataMissingError(
            f"{folder.root}: no epoch is done yet", f"comface-bench pretrain --out {folder.root} …"
        ) from None
    return ExportedTraining(facts, best["line"], folder.lines(), best["model"])


def _require_alike(folders: Sequence[TrainingFolder], trainings: Sequence[ExportedTraining]) -> None:
    """Make sure that the networks of several trainings lie close to each other.

    Raises:
        UsageError: They began elsewhere or each at weights of its own, or learnt from other faces or by other
            settings.
    """
    if len(trainings) == 1:
        return
    first = trainings[0].facts
    for folder, training in zip(folders[1:], trainings[1:], strict=True):
        other = [
            key for key in ("start", "corpora", "attributes") if training.facts.get(key) != first.get(key)
        ]
        settings = {**training.facts["settings"], "seed": trainings[0].seed}
        other += [f"settings.{key}" for key in settings if settings[key] != first["settings"].get(key)]
        if other:
            raise UsageError(
                f"{folder.root} and {folders[0].root} have no mean: they differ in {', '.join(other)}",
                "Trainings of one start, the same corpora and settings, and other seeds have: -o seed=N",
            )
    seeds = [training.seed for training in trainings]
    if len(set(seeds)) < len(seeds):
        raise UsageError(
            f"seeds {', '.join(map(str, seeds))}: a training counts once", "Name each folder once."
        )
    if not first.get("start"):
        raise UsageError(
            "the trainings began at random weights, which differ by seed: their networks have no mean",
            "Let all begin at the same: pretrain --from METHOD or --from FILE",
        )


def _require_averages(settings: Mapping[str, Any], backbone: nn.Module) -> None:
    """Make sure that batch norms need no averages of a mean of weights, which nobody has taken.

    Raises:
        UsageError: The training took some.
    """
    frozen = choose_frozen(backbone, settings.get("freeze", ""))
    if moving := list_moving_averages(backbone, frozen):
        raise UsageError(
            f"batch norms, {len(moving)} of them, took averages in training, which aren't those of a mean of"
            " weights",
            "Train with -o freeze=norms",
        )


def _mean(several: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of each tensor, in float64; counters are the first's."""
    if len(several) == 1:
        return dict(several[0])
    mean: dict[str, Tensor] = {}
    for name, tensor in several[0].items():
        mean[name] = tensor
        if tensor.is_floating_point():
            summed = sum(share * one[name].double() for share, one in zip(shares, several, strict=True))
            mean[name] = (torch.as_tensor(summed) / sum(shares)).to(tensor.dtype)
    return mean


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
