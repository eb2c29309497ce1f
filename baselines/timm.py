"""Any model of timm: `timm/<model>` untrained, `timm/<model>.<tag>` with that tag's weights.

Nothing is downloaded. A tag's weights are looked for in the weights folder (`timm/<model>.<tag>` with
the ending .safetensors, .pth or .bin), then in the local cache of the Hugging Face hub. With
`-o checkpoint=FILE` any file of the model's whole classifier does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import (
    HUB_FILES,
    build_model,
    check_model,
    find_file,
    preprocess_of,
)
from comface_bench.core.card import MethodCard
from comface_bench.core.errors import UsageError, WeightsMissingError
from comface_bench.core.names import unknown_name
from comface_bench.core.weights import weights_folder

if TYPE_CHECKING:
    from torch import nn

FAMILY = "timm/"
EXAMPLE = "timm/resnet18"


def make_card(name: str) -> MethodCard:
    """Make the card of a timm model; whether timm knows its tag shows when its weights are looked for.

    Raises:
        UnknownNameError: timm doesn't know the model.
    """
    model = name.removeprefix(FAMILY)
    if not model:
        raise UsageError("timm/ needs a model", f"For example: --method {EXAMPLE}")
    check_model(model)
    tagged = "." in model
    return MethodCard(
        name=name,
        version=1,
        build=":build",
        backbone=model.partition(".")[0],
        feature="timm's pooled features before the classifier",
        # The model is an option with one value, so that `build` knows it.
        options={"model": (model,), "checkpoint": ()},
        drawn=not tagged,
        group="Other",
        summary=f"timm's {model}" + ("" if tagged else ", untrained"),
        licence="Apache-2.0 (timm's code); the weights' own" if tagged else "Apache-2.0 (timm's code)",
        source="timm",
    )


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Find the weights of a tag; untrained models need none.

    Raises:
        UnknownNameError: timm doesn't know the tag.
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    name = options["model"]
    model, _, tag = name.partition(".")
    if not tag:
        return None
    if found := find_file(name, f"timm/{name}"):
        return found
    import timm

    known = timm.list_pretrained(f"{model}.*")
    if name not in known:
        raise unknown_name(card.name, (f"timm/{other}" for other in [*known, model]), "method")
    # Several models of timm share weights, which the hub has under the name of one of them.
    config = timm.get_pretrained_cfg(name)
    repository = str((config and config.hf_hub_id) or f"timm/{name}")
    if found := find_file(name, repository):
        return found
    raise WeightsMissingError(
        f"{card.name} needs weights, which are neither in {weights_folder() / 'timm'} nor in the hub's cache",
        f"On a machine with a network: hf download {repository} {HUB_FILES[0]}\n"
        f"or name a file: -o checkpoint=FILE; untrained: --method timm/{model}",
    )


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build a timm model without its classifier; its configuration gives the preprocessing."""
    model = build_model(options["model"], weights, seed)
    model.preprocess = preprocess_of(model)  # type: ignore[assignment]
    return model
