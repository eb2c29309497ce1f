"""Any model of timm: `timm/<model>` untrained, `timm/<model>.<tag>` with that tag's weights.

Nothing is downloaded. A tag's weights are looked for in the weights folder (`timm/<model>.<tag>` with
the ending .safetensors, .pth or .bin), then in the local cache of the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.names import unknown_name
from comface_bench.core.weights import weights_folder

if TYPE_CHECKING:
    from torch import nn

FAMILY = "timm/"
EXAMPLE = "timm/resnet18"


def make_card(name: str) -> MethodCard:
    """Make the card of a timm model; whether timm knows the model shows when it is built."""
    model = name.removeprefix(FAMILY)
    if not model:
        raise UsageError("timm/ needs a model", f"For example: --method {EXAMPLE}")
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
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    model = options["model"]
    if "." not in model:
        return None
    for ending in (".safetensors", ".pth", ".bin"):
        if (path := weights_folder() / "timm" / f"{model}{ending}").is_file():
            return path
    from huggingface_hub import try_to_load_from_cache

    for file in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(cached := try_to_load_from_cache(f"timm/{model}", file), str):
            return Path(cached)
    raise WeightsMissingError(
        f"{card.name} needs weights, which are neither in {weights_folder() / 'timm'} nor in the hub's cache",
        f"On a machine with a network: huggingface-cli download timm/{model} model.safetensors\n"
        f"or name a file: -o checkpoint=FILE; untrained: --method timm/{model.partition('.')[0]}",
    )


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build a timm model without its classifier; its configuration gives the preprocessing."""
    import timm
    import torch
    from timm.data.config import resolve_model_data_config

    from comface_bench.weights.read import read_tensors

    name = options["model"]
    if not timm.is_model(name.partition(".")[0]):
        raise unknown_name(f"timm/{name}", (f"timm/{model}" for model in timm.list_models()), "method")
    settings: dict[str, Any] = {}
    if weights is not None:
        # timm renames keys for its own topology; it is handed tensors only.
        settings = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": read_tensors(weights)}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model, any_size = _create(name, settings)
        except (RuntimeError, KeyError) as error:
            raise WeightsFormatError(f"{weights}: doesn't fit timm's {name}: {error}") from error
    # Asked for no classes from the start, timm would load whatever keys fit and leave the rest random.
    model.reset_classifier(0)
    model.pretrained_cfg.pop("state_dict", None)
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    fixed = model.pretrained_cfg.get("fixed_input_size") and not any_size
    size = config["input_size"][-1] if fixed else None
    model.preprocess = Preprocess(mean=config["mean"], std=config["std"], size=size)
    built: nn.Module = model
    return built


def _create(name: str, settings: Mapping[str, Any]) -> tuple[Any, bool]:
    import timm

    try:
        # Vision transformers fix their grid unless asked not to; other models don't know the word.
        return timm.create_model(name, dynamic_img_size=True, **settings), True
    except TypeError:
        return timm.create_model(name, **settings), False
