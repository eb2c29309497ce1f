"""Image towers of open_clip: `open_clip/<arch>/<tag>`, or `open_clip/<arch>` untrained.

Nothing is downloaded. A tag's weights are looked for in the weights folder
(`open_clip/<arch>/<tag>` with the ending .safetensors, .bin or .pt), then in the hub's local cache.
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

FAMILY = "open_clip/"
EXAMPLE = "open_clip/ViT-B-16/openai"


def make_card(name: str) -> MethodCard:
    """Make the card of an open_clip image tower; whether it exists shows when it is built."""
    model = name.removeprefix(FAMILY)
    arch, _, tag = model.partition("/")
    if not arch:
        raise UsageError("open_clip/ needs an architecture", f"For example: --method {EXAMPLE}")
    return MethodCard(
        name=name,
        version=1,
        build=":build",
        backbone=arch,
        feature="the image tower's embedding, not normalised",
        options={"model": (model,), "checkpoint": ()},
        drawn=not tag,
        group="Other",
        summary=f"open_clip's {arch}" + (f", weights {tag}" if tag else ", untrained"),
        licence="MIT (open_clip's code)" + ("; the weights' own" if tag else ""),
        source="open_clip",
    )


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Find the weights of a tag; untrained towers need none.

    Raises:
        UnknownNameError: open_clip doesn't know the tag.
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    arch, _, tag = options["model"].partition("/")
    if not tag:
        return None
    for ending in (".safetensors", ".bin", ".pt"):
        if (path := weights_folder() / "open_clip" / arch / f"{tag}{ending}").is_file():
            return path
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    config = open_clip.get_pretrained_cfg(arch, tag)
    if not config:
        known = [f"open_clip/{arch}/{other}" for other in open_clip.list_pretrained_tags_by_model(arch)]
        raise unknown_name(card.name, known, "method")
    repository = str(config.get("hf_hub") or "").rstrip("/")
    for file in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        if repository and isinstance(cached := try_to_load_from_cache(repository, file), str):
            return Path(cached)
    raise WeightsMissingError(
        f"{card.name} needs weights; there are none in {weights_folder() / 'open_clip'} or the hub's cache",
        f"On a machine with a network: huggingface-cli download {repository or arch}\n"
        "or name a file: -o checkpoint=FILE",
    )


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower; its configuration gives size, mean and std."""
    import open_clip
    import torch

    from comface_bench.weights.read import read_tensors

    arch, _, tag = options["model"].partition("/")
    if arch not in open_clip.list_models():
        raise unknown_name(
            f"open_clip/{arch}", (f"open_clip/{name}" for name in open_clip.list_models()), "method"
        )
    if "hf_model_name" in open_clip.get_model_config(arch)["text_cfg"]:
        raise UsageError(
            f"open_clip/{arch}: its text tower would be fetched from the network",
            "Choose an image tower whose text tower open_clip builds itself.",
        )
    if weights is not None:
        read_tensors(weights)  # Refuses code and broken files before open_clip opens the file.
    config: dict[str, Any] = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = open_clip.create_model(
                arch,
                pretrained=str(weights) if weights else None,
                # OpenAI's and some others' weights were trained with this approximation of GELU.
                force_quick_gelu=bool(config.get("quick_gelu")),
            )
        except (RuntimeError, KeyError) as error:
            raise WeightsFormatError(f"{weights}: doesn't fit open_clip's {arch}: {error}") from error
    tower = model.visual
    # Weights from a file come without their tag's mean and std, which open_clip keeps beside the tag.
    own = {key: config[key] for key in ("mean", "std") if config.get(key)}
    wanted = open_clip.get_model_preprocess_cfg(model) | own
    size = wanted["size"]
    tower.preprocess = Preprocess(
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
        size=size if isinstance(size, int) else size[0],
    )
    built: nn.Module = tower
    return built
